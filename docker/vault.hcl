# One Vault on one machine. What else it can be told: its own documentation.
disable_mlock = true
api_addr      = "http://vault:8200"

storage "file" {
  path = "/vault/file"
}

# Inside the network of the containers, and on 127.0.0.1 of the machine.
listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
}

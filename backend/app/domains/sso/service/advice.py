"""Plain advice for what directories say, by Entra's own numbers (AADSTS…).

https://learn.microsoft.com/en-us/entra/identity-platform/reference-error-codes
"""

from typing import Final

_BY_NUMBER: Final = {
    "16000": "The person is signed in with another account; sign out there, and choose one.",
    "50011": "Register this product's redirect URI with the application, letter by letter.",
    "50020": "The person is not in this directory; invite him or her as a guest, or use another.",
    "50034": "There is no such account in the directory.",
    "50053": "The account is locked in the directory after wrong passwords; wait, or unlock it.",
    "50055": "The password has expired; change it in the directory.",
    "50057": "The account is disabled in the directory.",
    "50058": "The person was not signed in at the directory; sign in once more.",
    "50076": "The directory asks for a second factor; sign in once more.",
    "50079": "The person has to set up a second factor in the directory first.",
    "50105": "Assign the person, or a group, to the application (Enterprise applications).",
    "50126": "The address or the password was wrong.",
    "50173": "The connection was revoked, often by a new password; sign in once more.",
    "53003": "A conditional access policy of the directory forbids it.",
    "54005": "The code was used before; sign in once more.",
    "65001": "Nobody has consented to the application; an administrator of the directory can.",
    "65004": "The person declined to consent.",
    "70000": "The connection is no longer good; sign in once more.",
    "70008": "The code has expired; sign in once more.",
    "90002": "There is no directory with this id.",
    "90072": "The person's account is of another directory.",
    "90094": "The application needs the consent of an administrator of the directory.",
    "700016": "There is no application with this client id in the directory.",
    "700027": "The certificate here is not one that is registered with the application.",
    "700082": "Nobody used the connection for too long; sign in once more.",
    "700084": "The redirect URI is of a single-page application, whose connections last a day.",
    "7000215": "The client secret is wrong: give its value, and not its id.",
    "7000218": "Give a client secret or certificate, or register the redirect URI as a mobile and"
    " desktop application.",
    "7000222": "The client secret has expired; make a new one in the directory, and give it here.",
    "9002327": "Register the redirect URI as a mobile and desktop or web application, not as a"
    " single-page one.",
}
_BY_REASON: Final = {
    "state_unknown": "A sign-in took too long, was repeated, or was not begun here.",
    "another_browser": "A sign-in came back in another browser than it began in.",
    "config_changed": "The directory's settings were changed while somebody signed in.",
    "mixed_up_issuer": "Another directory answered than was asked; find out which, and why.",
    "access_denied": "The person declined, or a policy of the directory forbids it.",
    "not_provisioned": "Invite the person, or switch automatic provisioning on for the domain.",
    "link_required": "The person has an account here, and has to prove its password once.",
    "no_role": "Map one of the person's groups to a role, or give a default role.",
    "no_member": "The person was taken out of this tenant; invite him or her again.",
    "inactive": "The account or its membership is inactive here.",
    "unverified": "The account's address here is not verified.",
    "directory_unavailable": "The directory did not answer; it may be an outage.",
}
_OF_APPLICATION: Final = frozenset(
    {
        *("invalid_client", "unauthorized_client"),
        *("700016", "700027", "7000215", "7000218", "7000222", "9002327", "90002", "50011"),
    }
)
EXPIRED: Final = frozenset({"700082", "700084", "70008"})


def advice(reason: str, aadsts: str | None = None) -> str:
    """What somebody can do about it."""
    return (
        _BY_NUMBER.get(aadsts or "")
        or _BY_REASON.get(reason)
        or "Look the number up at https://login.microsoftonline.com/error, or ask the operator."
    )


def is_of_application(error: str, aadsts: str | None) -> bool:
    """Whether something is wrong with the application itself, and not with the person."""
    return bool(_OF_APPLICATION & {error, aadsts})

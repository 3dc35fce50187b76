-- One row for each object of a database: kind, name, and the SQL that makes it, that takes it away,
-- and that changes it where it need not be made anew; and whether taking it away loses rows.
WITH ours AS (
    SELECT oid FROM pg_namespace
    WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
      AND nspname NOT LIKE 'pg\_temp%' AND nspname NOT LIKE 'pg\_toast\_temp%'
),
members AS (SELECT objid FROM pg_depend WHERE deptype = 'e'),
-- Every object that has an owner and an ACL, and the kind of its default ACL.
owned AS (
    SELECT 'SCHEMA ' || quote_ident(n.nspname) AS target, n.nspowner AS owner, n.nspacl AS acl,
           'n'::"char" AS kind
    FROM pg_namespace n
WHERE n.oid IN (SELECT oid FROM ours)
    UNION ALL
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' WHEN 'v' THEN 'VIEW '
                          WHEN 'm' THEN 'MATERIALIZED VIEW ' ELSE 'TABLE ' END
           || c.oid::regclass, c.relowner, c.relacl,
           CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r'::"char" END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  AND n.oid IN (SELECT oid FROM ours)
    UNION ALL
    SELECT 'ROUTINE ' || p.oid::regprocedure, p.proowner, p.proacl, 'f'
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE (p.proacl IS NOT NULL AND n.nspname = 'pg_catalog')
   OR n.oid IN (SELECT oid FROM ours)
    UNION ALL
    SELECT 'TYPE ' || t.oid::regtype, t.typowner, t.typacl, 'T'
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype IN ('e', 'd', 'r')
  AND n.oid IN (SELECT oid FROM ours)
    UNION ALL
    SELECT 'LANGUAGE ' || quote_ident(lanname), lanowner, lanacl, 'l' FROM pg_language
    WHERE lanpltrusted
)
SELECT 'schema', n.nspname::text, format('CREATE SCHEMA %I', n.nspname),
       format('DROP SCHEMA %I', n.nspname), NULL::text, false
FROM pg_namespace n
WHERE n.oid IN (SELECT oid FROM ours)
UNION ALL
SELECT 'extension', x.extname::text,
       format('CREATE EXTENSION %I SCHEMA %I VERSION %L', x.extname, n.nspname, x.extversion),
       format('DROP EXTENSION %I', x.extname), NULL, false
FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
WHERE x.extname <> 'plpgsql'
UNION ALL
SELECT 'table', c.oid::regclass::text,
       format('CREATE %sTABLE %s ()%s%s',
              CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, c.oid::regclass,
              ' /* ' || c.relkind::text || coalesce(' ' || pg_get_partkeydef(c.oid), '')
                     || coalesce(' ' || c.reloptions::text, '') || ' */',
              CASE WHEN c.relrowsecurity
                   THEN format('; ALTER TABLE %s ENABLE ROW LEVEL SECURITY', c.oid::regclass)
                   ELSE '' END
              || CASE WHEN c.relforcerowsecurity
                   THEN format('; ALTER TABLE %s FORCE ROW LEVEL SECURITY', c.oid::regclass)
                   ELSE '' END),
       format('DROP TABLE %s', c.oid::regclass),
       format('ALTER TABLE %s %s ROW LEVEL SECURITY, %s ROW LEVEL SECURITY', c.oid::regclass,
              CASE WHEN c.relrowsecurity THEN 'ENABLE' ELSE 'DISABLE' END,
              CASE WHEN c.relforcerowsecurity THEN 'FORCE' ELSE 'NO FORCE' END),
       true
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
  AND n.oid IN (SELECT oid FROM ours)
  AND c.oid NOT IN (SELECT objid FROM members)
UNION ALL
SELECT 'sequence', c.oid::regclass::text,
       format('CREATE SEQUENCE %s AS %s INCREMENT %s MINVALUE %s MAXVALUE %s START %s CACHE %s',
              c.oid::regclass, format_type(s.seqtypid, NULL), s.seqincrement, s.seqmin,
              s.seqmax, s.seqstart, s.seqcache)
       || CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END,
       format('DROP SEQUENCE %s', c.oid::regclass), NULL, true
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'i')
  AND n.oid IN (SELECT oid FROM ours)
UNION ALL
SELECT 'type', t.oid::regtype::text,
       CASE t.typtype
       WHEN 'e' THEN format('CREATE TYPE %s AS ENUM (%s)', t.oid::regtype,
           (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
            FROM pg_enum WHERE enumtypid = t.oid))
       WHEN 'd' THEN format('CREATE DOMAIN %s AS %s', t.oid::regtype,
           format_type(t.typbasetype, t.typtypmod)
           || coalesce(' DEFAULT ' || t.typdefault, '')
           || CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END
           || coalesce((SELECT string_agg(
                  format(' CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)), ''
                  ORDER BY conname)
              FROM pg_constraint WHERE contypid = t.oid AND contype <> 'n'), ''))
       ELSE format('CREATE TYPE %s /* %s */', t.oid::regtype, t.typtype::text) END,
       format('DROP TYPE %s', t.oid::regtype), NULL, false
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype IN ('e', 'd', 'r')
  AND n.oid IN (SELECT oid FROM ours)
  AND t.oid NOT IN (SELECT objid FROM members)
UNION ALL
SELECT 'column', c.oid::regclass || '.' || quote_ident(a.attname),
       format('ALTER TABLE %s ADD COLUMN %I %s', c.oid::regclass, a.attname, d.definition),
       format('ALTER TABLE %s DROP COLUMN %I', c.oid::regclass, a.attname),
       format('ALTER TABLE %s ALTER COLUMN %I TYPE %s', c.oid::regclass, a.attname,
              d.definition),
       true
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_collation l ON l.oid = a.attcollation AND l.collname <> 'default'
LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
CROSS JOIN LATERAL (SELECT format_type(a.atttypid, a.atttypmod)
    || coalesce(' COLLATE ' || quote_ident(l.collname), '')
    || CASE a.attidentity WHEN 'a' THEN ' GENERATED ALWAYS AS IDENTITY'
                          WHEN 'd' THEN ' GENERATED BY DEFAULT AS IDENTITY' ELSE '' END
    || CASE a.attgenerated WHEN '' THEN ''
       ELSE format(' GENERATED ALWAYS AS (%s) %s', pg_get_expr(f.adbin, f.adrelid),
                   CASE a.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END) END
    AS definition) d
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p')
  AND n.oid IN (SELECT oid FROM ours)
  AND c.oid NOT IN (SELECT objid FROM members)
UNION ALL
SELECT 'default of column', c.oid::regclass || '.' || quote_ident(a.attname),
       format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', c.oid::regclass, a.attname,
              pg_get_expr(f.adbin, f.adrelid)),
       format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', c.oid::regclass, a.attname),
       format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', c.oid::regclass, a.attname,
              pg_get_expr(f.adbin, f.adrelid)),
       false
FROM pg_attrdef f JOIN pg_class c ON c.oid = f.adrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum AND a.attgenerated = ''
WHERE n.oid IN (SELECT oid FROM ours)
  AND c.oid NOT IN (SELECT objid FROM members)
UNION ALL
SELECT 'NOT NULL of column', c.oid::regclass || '.' || quote_ident(a.attname),
       format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', c.oid::regclass, a.attname),
       format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', c.oid::regclass, a.attname),
       NULL, false
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE a.attnotnull AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p')
  AND n.oid IN (SELECT oid FROM ours)
  AND c.oid NOT IN (SELECT objid FROM members)
UNION ALL
SELECT 'constraint', c.oid::regclass || '.' || quote_ident(k.conname),
       format('ALTER TABLE %s ADD CONSTRAINT %I %s', c.oid::regclass, k.conname,
              pg_get_constraintdef(k.oid)),
       format('ALTER TABLE %s DROP CONSTRAINT %I', c.oid::regclass, k.conname), NULL, false
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype IN ('p', 'u', 'c', 'f', 'x')
  AND n.oid IN (SELECT oid FROM ours)
  AND c.oid NOT IN (SELECT objid FROM members)
UNION ALL
SELECT 'index', i.indexrelid::regclass::text,
       pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' /* invalid */' END,
       format('DROP INDEX %s', i.indexrelid::regclass), NULL, false
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid
                  AND k.contype IN ('p', 'u', 'x'))
  AND n.oid IN (SELECT oid FROM ours)
  AND i.indrelid NOT IN (SELECT objid FROM members)
UNION ALL
SELECT 'view', c.oid::regclass::text,
       format('CREATE %sVIEW %s AS %s',
              CASE c.relkind WHEN 'm' THEN 'MATERIALIZED ' ELSE '' END, c.oid::regclass,
              pg_get_viewdef(c.oid)),
       format('DROP %sVIEW %s', CASE c.relkind WHEN 'm' THEN 'MATERIALIZED ' ELSE '' END,
              c.oid::regclass), NULL, false
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm')
  AND n.oid IN (SELECT oid FROM ours)
  AND c.oid NOT IN (SELECT objid FROM members)
UNION ALL
SELECT 'function', p.oid::regprocedure::text,
       CASE WHEN p.prokind = 'a' THEN format('CREATE AGGREGATE %s', p.oid::regprocedure)
            ELSE pg_get_functiondef(p.oid) END,
       format('DROP ROUTINE %s', p.oid::regprocedure),
       CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END, false
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.oid IN (SELECT oid FROM ours)
  AND p.oid NOT IN (SELECT objid FROM members)
UNION ALL
SELECT 'trigger', c.oid::regclass || '.' || quote_ident(t.tgname),
       pg_get_triggerdef(t.oid)
       || CASE t.tgenabled WHEN 'O' THEN ''
          ELSE format('; ALTER TABLE %s %s TRIGGER %I', c.oid::regclass,
              CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS'
                               ELSE 'ENABLE REPLICA' END, t.tgname) END,
       format('DROP TRIGGER %I ON %s', t.tgname, c.oid::regclass), NULL, false
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal
  AND n.oid IN (SELECT oid FROM ours)
UNION ALL
SELECT 'policy', c.oid::regclass || '.' || quote_ident(p.polname),
       format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', p.polname, c.oid::regclass,
           CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
           CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                         WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
           (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END, ', '
                              ORDER BY r) FROM unnest(p.polroles) r))
       || coalesce(format(' USING (%s)', pg_get_expr(p.polqual, p.polrelid)), '')
       || coalesce(format(' WITH CHECK (%s)', pg_get_expr(p.polwithcheck, p.polrelid)), ''),
       format('DROP POLICY %I ON %s', p.polname, c.oid::regclass), NULL, false
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.oid IN (SELECT oid FROM ours)
UNION ALL
SELECT 'event trigger', evtname::text, format('CREATE EVENT TRIGGER %I', evtname),
       format('DROP EVENT TRIGGER %I', evtname), NULL, false
FROM pg_event_trigger
UNION ALL
SELECT 'publication', pubname::text, format('CREATE PUBLICATION %I', pubname),
       format('DROP PUBLICATION %I', pubname), NULL, false
FROM pg_publication
UNION ALL
SELECT 'owner', target,
       format('ALTER %s OWNER TO %I', target, pg_get_userbyid(owner)), '',
       format('ALTER %s OWNER TO %I', target, pg_get_userbyid(owner)), false
FROM owned
UNION ALL
SELECT 'grant', regexp_replace(target, '^(MATERIALIZED )?VIEW ', '') || ' to ' || who,
       format('GRANT %s ON %s TO %s', what, regexp_replace(target, '^(MATERIALIZED )?VIEW ', ''),
              who),
       format('REVOKE ALL ON %s FROM %s', regexp_replace(target, '^(MATERIALIZED )?VIEW ', ''),
              who),
       NULL, false
FROM (
    SELECT target,
           CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END
           AS who,
           string_agg(g.privilege_type || CASE WHEN g.is_grantable THEN '*' ELSE '' END, ', '
                      ORDER BY g.privilege_type) AS what
    FROM owned, aclexplode(coalesce(acl, acldefault(kind, owner))) g
    WHERE g.grantee <> owner
    GROUP BY target, g.grantee
) granted
UNION ALL
SELECT 'grant', 'COLUMN ' || target || '.' || attname || ' to ' || who,
       'GRANT ' || string_agg(format('%s (%I)', privilege, attname), ', ' ORDER BY privilege)
       || format(' ON %s TO %s', target, who),
       format('REVOKE ALL (%I) ON %s FROM %s', attname, target, who), NULL, false
FROM (
    SELECT c.oid::regclass AS target, a.attname, g.privilege_type AS privilege,
           CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END
           AS who
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid, aclexplode(a.attacl) g
    WHERE c.relnamespace IN (SELECT oid FROM ours)
) granted
GROUP BY target, attname, who
UNION ALL
SELECT 'default privileges', pg_get_userbyid(d.defaclrole) || coalesce(' in ' || n.nspname, '')
       || ' ' || d.defaclobjtype::text, 'ALTER DEFAULT PRIVILEGES /* ' || d.defaclacl::text || ' */',
       'ALTER DEFAULT PRIVILEGES /* none */', NULL, false
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
UNION ALL
SELECT 'setting', coalesce(pg_get_userbyid(nullif(s.setrole, 0)), 'database') || ' '
       || split_part(c, '=', 1),
       format('ALTER DATABASE CURRENT SET %s', c),
       format('ALTER DATABASE %I RESET %I', current_database(), split_part(c, '=', 1)), NULL,
       false
FROM pg_db_role_setting s, unnest(s.setconfig) c
WHERE s.setrole = 0
  AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())

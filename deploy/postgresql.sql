-- Two roles and two schemas in one database, run by its owner; a second time changes only the passwords:
--   psql -v keeper_password=… -v gate_password=… -f postgresql.sql DATABASE
-- The gate's role can neither read nor write the keeper's schema, nor the keeper's the gate's.
\set ON_ERROR_STOP on
SELECT format('CREATE ROLE %I LOGIN', name) FROM (VALUES ('strongroom_keeper'), ('strongroom_gate')) AS wanted (name)
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE strongroom_keeper PASSWORD :'keeper_password';
ALTER ROLE strongroom_gate PASSWORD :'gate_password';
CREATE SCHEMA IF NOT EXISTS strongroom_keeper AUTHORIZATION strongroom_keeper;
CREATE SCHEMA IF NOT EXISTS strongroom_catalog AUTHORIZATION strongroom_gate;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER ROLE strongroom_keeper SET search_path = strongroom_keeper;
ALTER ROLE strongroom_gate SET search_path = strongroom_catalog;

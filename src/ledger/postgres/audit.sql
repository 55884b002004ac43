-- Who changed what and when; see the documentation of the audit for the form of entries.
CREATE TABLE audit (number bigint PRIMARY KEY, hash text NOT NULL, entry text NOT NULL);

CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$;

CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
EXECUTE FUNCTION audit_refuse();

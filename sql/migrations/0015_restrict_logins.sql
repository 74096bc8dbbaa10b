-- Logins of users can no longer hold the program's locks, or fill the disk.

-- What Postgres lets every role do, and the login of a user must not: hold the advisory locks of the
-- program, which stops it, and fill the disk with large objects or temporary tables. Only a superuser can
-- take these functions away from all roles; true when nobody has them.
CREATE FUNCTION restrict_sql_roles() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    denied CONSTANT text := '^(pg_(try_)?advisory_|lo_|loread$|lowrite$)';
    owner CONSTANT name := (SELECT relowner::regrole FROM pg_class WHERE oid = 'sql_roles'::regclass);
    callable record;
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    FOR callable IN
        SELECT oid::regprocedure AS signature FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ denied
          AND has_function_privilege('public', oid, 'EXECUTE')
        ORDER BY oid
    LOOP
        IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = CURRENT_USER) THEN
            RETURN false;
        END IF;
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', callable.signature, owner);
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', callable.signature);
    END LOOP;
    RETURN true;
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM sql_roles) THEN
        PERFORM restrict_sql_roles();
    END IF;
END
$$;

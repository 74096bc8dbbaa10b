-- The daemon serves webhooks only while there are some: it is told of the first one and of the last.

CREATE TRIGGER webhooks_notify_change
    AFTER INSERT OR DELETE OR TRUNCATE ON webhooks
    FOR EACH STATEMENT EXECUTE FUNCTION notify_change();

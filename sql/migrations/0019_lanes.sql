-- Several machines: a source can be stored by several writers, each of which stores one lane of it, and
-- a writer that reads the bus remembers how far.

ALTER TABLE sources
    ADD COLUMN lanes integer NOT NULL DEFAULT 1,
    ADD CONSTRAINT sources_lanes_range CHECK (lanes BETWEEN 1 AND 64);

DROP TRIGGER sources_notify_change ON sources;
CREATE TRIGGER sources_notify_change
    AFTER INSERT OR DELETE OR TRUNCATE
        OR UPDATE OF name, network, url, proxy, secrets, enabled, lanes ON sources
    FOR EACH STATEMENT EXECUTE FUNCTION notify_change();

CREATE TABLE lanes (
    id        integer PRIMARY KEY DEFAULT nextval('sources_id_seq'),
    source_id integer NOT NULL,
    cell      text NOT NULL DEFAULT '',
    number    integer NOT NULL,

    CONSTRAINT lanes_id_fits_tweet_key CHECK (id BETWEEN 1 AND 4095),
    CONSTRAINT lanes_cell_plain CHECK (cell ~ '^([a-z0-9][a-z0-9_-]{0,30})?$'),
    CONSTRAINT lanes_number_range CHECK (number BETWEEN 0 AND 63),
    CONSTRAINT lanes_number_unique UNIQUE (source_id, cell, number)
);
COMMENT ON TABLE lanes IS 'Bound: at most 4,095, with the sources; they stay with the tweets';

ALTER TABLE positions
    DROP CONSTRAINT positions_pkey,
    ADD CONSTRAINT positions_pkey PRIMARY KEY (journal, source_id),
    ADD COLUMN lanes integer[],
    ADD COLUMN bus_created timestamptz,
    ADD COLUMN bus_sequence bigint,
    ADD CONSTRAINT positions_bus_sequence_positive CHECK (bus_sequence > 0),
    ADD CONSTRAINT positions_bus_whole CHECK ((bus_created IS NULL) = (bus_sequence IS NULL));
COMMENT ON TABLE positions IS 'Bound: one row for each data folder and lane that ever collected';

ALTER TABLE daemons
    DROP CONSTRAINT daemons_role_known,
    ADD CONSTRAINT daemons_role_known CHECK (role IN ('collecting', 'standby', 'other')),
    ADD COLUMN roles text[] NOT NULL DEFAULT '{collect,write,web,monitor}',
    ADD COLUMN lanes integer[] NOT NULL DEFAULT '{}',
    ADD COLUMN report jsonb NOT NULL DEFAULT '{}';

CREATE TRIGGER lanes_notify_change
    AFTER INSERT OR DELETE OR TRUNCATE ON lanes
    FOR EACH STATEMENT EXECUTE FUNCTION notify_change();

CREATE TABLE cell_identity (
    is_only      boolean PRIMARY KEY DEFAULT true,
    installation uuid NOT NULL,
    name         text NOT NULL,

    CONSTRAINT cell_identity_one_row CHECK (is_only),
    CONSTRAINT cell_identity_name_plain CHECK (name ~ '^([a-z0-9][a-z0-9_-]{0,30})?$')
);
COMMENT ON TABLE cell_identity IS 'Bound: one row';

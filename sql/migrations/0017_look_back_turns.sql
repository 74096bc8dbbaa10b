-- Look-backs of several users take turns, and know how long they have worked.

ALTER TABLE look_backs
    ADD COLUMN turn_at timestamptz,
    ADD COLUMN worked real NOT NULL DEFAULT 0;

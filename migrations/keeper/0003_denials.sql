-- Where several keepers share the database: how many refusals of an actor (a keyed hash) they told each other of, in the window that runs
-- and in the one before.
CREATE TABLE denied (actor_index BLOB PRIMARY KEY, turn BIGINT NOT NULL, latest BIGINT NOT NULL, before BIGINT NOT NULL);

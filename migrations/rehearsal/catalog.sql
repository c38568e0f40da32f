-- As keeper.sql.
ALTER TABLE envelope ADD COLUMN rehearsed BIGINT NOT NULL DEFAULT 0;
CREATE INDEX envelope_by_rehearsal ON envelope (rehearsed, object);
ALTER TABLE ref ADD COLUMN rehearsed BIGINT NOT NULL DEFAULT 0;

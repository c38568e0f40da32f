-- By what the log is searched: where a principal, a repository, a token or an address (a keyed hash of it, as in audit_leaf) has
-- records. A row is one record and, packed into `more`, others that follow it in its log within the same 2^16 ms. Rows are written
-- for many records at once, by the log's writer alone: those of a log from `indexed` on are not here yet, and looked through.
CREATE TABLE audit_index (
  value_index BLOB NOT NULL, time_ms BIGINT NOT NULL, log BIGINT NOT NULL, seq BIGINT NOT NULL, more BLOB NOT NULL,
  PRIMARY KEY (value_index, time_ms, log, seq)) WITHOUT ROWID;
ALTER TABLE audit_head ADD COLUMN indexed BIGINT NOT NULL DEFAULT 0;

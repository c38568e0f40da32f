-- What each witness last cosigned of each log: the signed checkpoint with its cosignature. It is shown, and it says where to begin to
-- ask; whether a log is witnessed is known from memory alone.
CREATE TABLE witnessed (
  log BIGINT NOT NULL, witness TEXT NOT NULL, size BIGINT NOT NULL, time_s BIGINT NOT NULL, note TEXT NOT NULL,
  PRIMARY KEY (log, witness));

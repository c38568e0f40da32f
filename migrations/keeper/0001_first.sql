-- The keeper's own database. TEXT and BLOB columns named *_sealed are AES-256-GCM-SIV under a key derived from the keeper's
-- secret, with their place as associated data; *_index are truncated HMACs, for look-ups by equality.
CREATE TABLE instance (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE policy_generation (one BIGINT PRIMARY KEY CHECK (one = 1), generation BIGINT NOT NULL);
INSERT INTO policy_generation VALUES (1, 1);
-- The newest changes, sealed, each under the generation that it made: by these other keepers on this database follow.
CREATE TABLE change (generation BIGINT PRIMARY KEY, body_sealed BLOB NOT NULL);
CREATE TABLE namespace (id BIGINT PRIMARY KEY, name_index BLOB NOT NULL UNIQUE, name_sealed BLOB NOT NULL);
-- Bytes that a namespace may store.
CREATE TABLE quota (namespace BIGINT PRIMARY KEY REFERENCES namespace (id), bytes BIGINT NOT NULL);
CREATE TABLE principal (
  id BIGINT PRIMARY KEY, name_index BLOB NOT NULL UNIQUE, name_sealed BLOB NOT NULL,
  created_ms BIGINT NOT NULL, removed_ms BIGINT, recipient_sealed BLOB, claimed_ms BIGINT);
CREATE TABLE token (
  id BIGINT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, principal BIGINT NOT NULL REFERENCES principal (id),
  body_sealed BLOB NOT NULL, created_ms BIGINT NOT NULL, expires_ms BIGINT NOT NULL,
  last_used_ms BIGINT, revoked_ms BIGINT);
CREATE TABLE assignment (
  principal BIGINT NOT NULL REFERENCES principal (id), role TEXT NOT NULL, place TEXT NOT NULL, place_id BIGINT NOT NULL,
  PRIMARY KEY (principal, role, place, place_id));
CREATE TABLE line (
  principal BIGINT NOT NULL REFERENCES principal (id), action TEXT NOT NULL, compartment TEXT NOT NULL,
  place TEXT NOT NULL, place_id BIGINT NOT NULL, effect TEXT NOT NULL CHECK (effect IN ('allow', 'deny')),
  PRIMARY KEY (principal, action, compartment, place, place_id));
CREATE TABLE repo (
  id BIGINT PRIMARY KEY, catalog_id BLOB NOT NULL UNIQUE, kind TEXT NOT NULL, namespace BIGINT NOT NULL REFERENCES namespace (id),
  name_sealed BLOB NOT NULL, secret BLOB, created_ms BIGINT NOT NULL, deleted_ms BIGINT,
  moved_ms BIGINT, moved_log BIGINT, moved_seq BIGINT);
-- `moved_*`: when the newest commit of `main` was made, and which record says so. By it other keepers on this database follow.
CREATE INDEX repo_by_move ON repo (moved_log, moved_seq);
-- A repository whose secret is rotated: the copy that is being made ('pending'), or what it was before ('previous'). `closes`
-- counts the times that writes were stopped for it; while `closed_until_ms` stands, they are.
CREATE TABLE rotation (
  repo BIGINT PRIMARY KEY REFERENCES repo (id), step TEXT NOT NULL CHECK (step IN ('pending', 'previous')),
  catalog_id BLOB NOT NULL UNIQUE, secret BLOB, closes BIGINT NOT NULL, closed_until_ms BIGINT);
-- A sealed repository. With shares, its secret lies here, wrapped for what is in the shares, and nowhere else.
CREATE TABLE repo_seal (repo BIGINT PRIMARY KEY REFERENCES repo (id), body_sealed BLOB NOT NULL, secret BLOB);
-- Every name a repository ever had: a name is never given to another.
CREATE TABLE repo_name (
  kind TEXT NOT NULL, name_index BLOB NOT NULL, name_sealed BLOB NOT NULL, repo BIGINT NOT NULL REFERENCES repo (id),
  PRIMARY KEY (kind, name_index));
-- Organisations whose people are here through them: who they are, who stands for them, and since when.
CREATE TABLE partner (id BIGINT PRIMARY KEY, name_index BLOB NOT NULL UNIQUE, body_sealed BLOB NOT NULL);
-- What a principal, or each of a partner organisation's people, may read of one repository with the tokens of a share, from
-- `begun_ms` for `life_ms` and never past `last_ms`.
CREATE TABLE share (
  id BIGINT PRIMARY KEY, principal BIGINT REFERENCES principal (id), partner BIGINT REFERENCES partner (id),
  repo BIGINT NOT NULL REFERENCES repo (id),
  body_sealed BLOB NOT NULL, created_ms BIGINT NOT NULL, life_ms BIGINT NOT NULL, last_ms BIGINT NOT NULL,
  begun_ms BIGINT, revoked_ms BIGINT, CHECK ((principal IS NULL) <> (partner IS NULL)));
-- Who accepted its terms, each for themselves, and when.
CREATE TABLE share_accepted (
  share BIGINT NOT NULL REFERENCES share (id), principal BIGINT NOT NULL REFERENCES principal (id), accepted_ms BIGINT NOT NULL,
  PRIMARY KEY (share, principal));
-- What was asked for through it.
CREATE TABLE share_usage (share BIGINT PRIMARY KEY, bytes BIGINT NOT NULL, downloads BIGINT NOT NULL);
-- Acts that need a second person: who asked for what with which token, until when it waits, and what became of it.
CREATE TABLE act (
  id BIGINT PRIMARY KEY, principal BIGINT NOT NULL REFERENCES principal (id), token BIGINT NOT NULL REFERENCES token (id),
  deed_sealed BLOB NOT NULL, asked_ms BIGINT NOT NULL, ends_ms BIGINT NOT NULL,
  decision TEXT CHECK (decision IN ('approved', 'rejected', 'expired')), decided_ms BIGINT);
-- Records about it, of all logs together: each has a number of its own, without gap.
CREATE TABLE share_event (share BIGINT PRIMARY KEY, events BIGINT NOT NULL);
-- Who asks for which repository, and what became of it.
CREATE TABLE ask (
  id BIGINT PRIMARY KEY, principal BIGINT NOT NULL REFERENCES principal (id), repo BIGINT NOT NULL REFERENCES repo (id),
  body_sealed BLOB NOT NULL, UNIQUE (principal, repo));
-- What is not there, and watched.
CREATE TABLE decoy (id BIGINT PRIMARY KEY, bait_index BLOB NOT NULL UNIQUE, body_sealed BLOB NOT NULL);
-- Who gave what, by numbers alone, and who confirmed it since.
CREATE TABLE given (
  name TEXT PRIMARY KEY, by_id BIGINT, second_id BIGINT, given_ms BIGINT NOT NULL, confirmed_by BIGINT, confirmed_ms BIGINT);
-- The day since 1970 at which something in a repository, or in none (0), was last allowed to a principal beside shares.
CREATE TABLE used (principal BIGINT NOT NULL, repo BIGINT NOT NULL, day BIGINT NOT NULL, PRIMARY KEY (principal, repo));
-- Rounds of review.
CREATE TABLE review (id BIGINT PRIMARY KEY, body_sealed BLOB NOT NULL);
CREATE TABLE stop (subject TEXT NOT NULL, id BIGINT NOT NULL, reason_sealed BLOB NOT NULL, since_ms BIGINT NOT NULL,
  PRIMARY KEY (subject, id));
-- What a principal, a token or a share used of its budgets in this hour and this day. `turns` counts how often its row was
-- locked; what is counted for a principal's tokens and shares is written under the lock of the principal's row.
CREATE TABLE budget (actor TEXT NOT NULL, id BIGINT NOT NULL, turns BIGINT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (actor, id));
-- Bytes that were ever committed to a compartment, as the gate said in the record of each commit.
CREATE TABLE repo_bytes (repo BIGINT NOT NULL, compartment TEXT NOT NULL, bytes BIGINT NOT NULL, PRIMARY KEY (repo, compartment));
-- How many unique bytes of it an actor took, in each window; and of each object (a keyed hash of its file key), which: a bitmap.
CREATE TABLE coverage (
  actor TEXT NOT NULL, id BIGINT NOT NULL, repo BIGINT NOT NULL, compartment TEXT NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (actor, id, repo, compartment));
CREATE TABLE coverage_object (
  actor TEXT NOT NULL, id BIGINT NOT NULL, object BLOB NOT NULL, body BLOB NOT NULL, PRIMARY KEY (actor, id, object));
-- Each keeper that runs writes a log of its own. `heads` names in the clear how far the others were.
CREATE TABLE audit_leaf (
  log BIGINT NOT NULL, seq BIGINT NOT NULL, time_ms BIGINT NOT NULL, action TEXT NOT NULL, outcome TEXT NOT NULL, generation BIGINT NOT NULL,
  principal_index BLOB NOT NULL, repo_index BLOB NOT NULL, token_index BLOB NOT NULL, address_index BLOB NOT NULL,
  body_sealed BLOB NOT NULL, heads TEXT NOT NULL, PRIMARY KEY (log, seq));
CREATE INDEX audit_by_principal ON audit_leaf (principal_index, time_ms, log, seq);
CREATE INDEX audit_by_repo ON audit_leaf (repo_index, time_ms, log, seq);
CREATE INDEX audit_by_token ON audit_leaf (token_index, time_ms, log, seq);
CREATE INDEX audit_by_address ON audit_leaf (address_index, time_ms, log, seq);
CREATE INDEX audit_by_time ON audit_leaf (time_ms, log, seq);
-- Which records changed policy, and at which generation: by them the reach of a credential at any moment is found. `rules` is 1
-- for those that say by which roles a keeper judges.
CREATE TABLE policy_record (
  generation BIGINT NOT NULL, rules BIGINT NOT NULL, log BIGINT NOT NULL, seq BIGINT NOT NULL,
  PRIMARY KEY (generation, rules, log, seq));
-- Which records are alerts. All keepers together raise one of a kind about an actor once in each turn.
CREATE TABLE alert (
  alert_index BLOB NOT NULL, turn BIGINT NOT NULL, log BIGINT NOT NULL, seq BIGINT NOT NULL, time_ms BIGINT NOT NULL,
  PRIMARY KEY (alert_index, turn), UNIQUE (log, seq));
CREATE INDEX alert_by_time ON alert (time_ms, log, seq);
-- Which keeper delivers to a sink, until when; and up to which record of each log the sink has the alerts.
CREATE TABLE alert_sink (sink TEXT PRIMARY KEY, holder BIGINT NOT NULL, until_ms BIGINT NOT NULL);
CREATE TABLE alert_cursor (sink TEXT NOT NULL, log BIGINT NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (sink, log));
-- From which networks a token was used.
CREATE TABLE token_network (token BIGINT NOT NULL, network_index BLOB NOT NULL, PRIMARY KEY (token, network_index));
-- Tiles of the Merkle tree (C2SP tlog-tiles): up to 256 hashes of 32 bytes each. Of level 0 only full ones: the last 255 leaf
-- hashes at most are computed anew from the leaves.
CREATE TABLE audit_tile (
  log BIGINT NOT NULL, level BIGINT NOT NULL, position BIGINT NOT NULL, hashes BLOB NOT NULL, PRIMARY KEY (log, level, position));
-- `epoch` counts who continued the log: whoever writes under an older one is fenced off.
CREATE TABLE audit_head (log BIGINT PRIMARY KEY, epoch BIGINT NOT NULL, size BIGINT NOT NULL, checkpoint TEXT NOT NULL);

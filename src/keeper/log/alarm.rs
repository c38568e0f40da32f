//! Alerts: which of the records that are about to land raise one. Each is a record of its own, in the same transaction as the one
//! that raised it, so that neither is there without the other; and a row, by which all keepers together raise it once.

use std::collections::{BTreeMap, HashMap, HashSet};

use sqlx::{AnyConnection, Row};
use strongroom_domain::{AlertKind, AlertRules, Budget, Compartment, Counted};
use strongroom_envelope::keyed_hash;

use super::denials::Denials;
use super::record::Record;
use crate::effect::Effect;
use crate::keys::OwnKeys;
use crate::metrics;

/// What in a record raises an alert and can't be told from the rest of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// A line that was crossed.
    Budget(Budget),
    /// A decoy that was touched.
    Decoy {
        /// Its number.
        id: u64,
        /// What it looks like.
        word: &'static str,
        /// Who planted it.
        planter: u64,
    },
}

/// Actions after which a root key is open, or closed.
const SEAL_ACTIONS: [&str; 3] = ["keeper.start", "system.seal", "system.unseal"];
/// Entries of what else is remembered, at most.
const KNOWN_MAX: usize = 50_000;
/// Networks of one token that are remembered, at most: from one beyond, each use is one from a new network, and an alert.
const NETWORKS_MAX: i64 = 1000;

type Key = [u8; 16];

/// What is known of alerts, so that few records ask the database.
pub struct Alarms {
    rules: AlertRules,
    denials: Denials,
    /// Whether other keepers are on this database.
    shared: bool,
    /// What was raised in which turn.
    raised: HashMap<Key, i64>,
    /// Networks from which tokens were used.
    networks: HashSet<(u64, Key)>,
    /// Answers that were withheld, of which an alert was raised.
    unwritten: u64,
}

/// An alert that a record raises, unless it was raised already.
pub struct Rising {
    key: Key,
    turn: i64,
    time_ms: i64,
    /// The network that is known from then on.
    network: Option<(u64, Key)>,
    /// Its record.
    pub record: Record,
}

/// What is known once the transaction is durable.
#[derive(Default)]
pub struct Risen {
    raised: Vec<(Key, i64)>,
    networks: Vec<(u64, Key)>,
    unwritten: Option<u64>,
}

/// A network as one actor has it: /24 of IPv4, /48 of IPv6.
fn network(address: &str) -> Option<String> {
    match address.parse::<std::net::IpAddr>().ok()?.to_canonical() {
        std::net::IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Some(format!("{a}.{b}.{c}.0/24"))
        }
        std::net::IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            Some(format!("{a:x}:{b:x}:{c:x}::/48"))
        }
    }
}

/// Whom an alert is about: who asked, or from where.
fn actor(record: &Record) -> String {
    let principal = record.principal_id.filter(|_| record.token.is_some()).map(|id| format!("principal {id}"));
    principal.or_else(|| network(&record.address)).unwrap_or_default()
}

fn short(hash: [u8; 32]) -> Key {
    // 32 bytes have a first 16.
    *hash.first_chunk().expect("32 bytes")
}

impl Alarms {
    /// By these rules; `shared` where other keepers are on this database.
    pub fn new(rules: AlertRules, shared: bool) -> Self {
        let (denials, raised, networks) = (Denials::default(), HashMap::new(), HashSet::new());
        Self { rules, denials, shared, raised, networks, unwritten: 0 }
    }

    /// The alerts that these records raise, each record with its place, in the order in which all keepers write their rows.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn rising(
        &mut self,
        tx: &mut AnyConnection,
        keys: &OwnKeys,
        landed: &[(&Record, (u64, u64))],
    ) -> Result<(Vec<Rising>, Risen), sqlx::Error> {
        let (mut rising, mut risen) = (BTreeMap::<Key, Rising>::new(), Risen::default());
        let (mut unknown, mut refused) = (BTreeMap::new(), BTreeMap::new());
        for &(record, place) in landed {
            if record.outcome == "denied" {
                refused.insert(actor(record), (record, place));
            }
            for (kind, actor, why) in self.seen(record) {
                self.add(&mut rising, keys, (kind, actor.as_str(), why), (record, place), None);
            }
            let unwritten = metrics::unwritten();
            if unwritten > self.unwritten && risen.unwritten.is_none() {
                let why =
                    format!("{} answers were withheld: their records were not written", unwritten - self.unwritten);
                risen.unwritten = Some(unwritten);
                let cause = Record { time_ms: record.time_ms, generation: record.generation, ..Record::default() };
                let actor = place.0.to_string();
                self.add(&mut rising, keys, (AlertKind::Audit, actor.as_str(), why), (&cause, place), None);
            }
            if let Some((token, network)) = record.token.zip(network(&record.address))
                && self.rules.every_ms(AlertKind::Network).is_some()
            {
                let parts: [&[u8]; 3] = [b"network", &token.to_be_bytes(), network.as_bytes()];
                let key = short(keyed_hash(&keys.index, &parts));
                if !self.networks.contains(&(token, key)) {
                    unknown.entry((token, key)).or_insert((network, record, place));
                }
            }
        }
        let index = |who: &str| short(keyed_hash(&keys.index, &[b"denied", who.as_bytes()])).to_vec();
        for (who, count) in self.denials.tell(tx, &self.rules, index).await? {
            // Told of by a record of this group.
            let Some(record) = refused.get(&who) else { continue };
            let why =
                format!("{count} refusals of {who} within {} s, on all servers together", self.rules.within_ms / 1000);
            self.add(&mut rising, keys, (AlertKind::Denials, who.as_str(), why), *record, None);
        }
        for ((token, key), (network, record, place)) in unknown {
            self.meet(tx, keys, (token, key, network), (record, place), &mut rising, &mut risen).await?;
        }
        Ok((rising.into_values().collect(), risen))
    }

    /// A token and a network that this keeper has not met together.
    async fn meet(
        &self,
        tx: &mut AnyConnection,
        keys: &OwnKeys,
        (token, key, network): (u64, Key, String),
        record: (&Record, (u64, u64)),
        rising: &mut BTreeMap<Key, Rising>,
        risen: &mut Risen,
    ) -> Result<(), sqlx::Error> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS networks, CAST(COALESCE(SUM(CASE WHEN network_index = $1 THEN 1 ELSE 0 END), 0) AS BIGINT) \
             AS known FROM token_network WHERE token = $2",
        )
        .bind(key.to_vec())
        .bind(token as i64)
        .fetch_one(&mut *tx)
        .await?;
        let (networks, known): (i64, i64) = (row.try_get("networks")?, row.try_get("known")?);
        if known > 0 {
            risen.networks.push((token, key));
        } else if networks == 0 {
            // Its first one is where it is from.
            note_network(tx, token, key).await?;
            risen.networks.push((token, key));
        } else {
            let why = format!("token {token} is used from {network}, from where it never was");
            let noted = Some((token, key)).filter(|_| networks < NETWORKS_MAX);
            self.add(rising, keys, (AlertKind::Network, token.to_string().as_str(), why), record, noted);
        }
        Ok(())
    }

    /// What a record shows by itself, and with those before it: kind, actor, why.
    fn seen(&mut self, record: &Record) -> Vec<(AlertKind, String, String)> {
        let mut seen = Vec::new();
        // Asked only where something is raised: most records raise nothing.
        let who = || actor(record);
        match &record.alarm {
            Some(Alarm::Budget(budget)) => {
                let kind =
                    if matches!(budget.what, Counted::Coverage(_)) { AlertKind::Coverage } else { AlertKind::Budget };
                let hard = record.outcome == "denied";
                let why = if hard { record.reason.clone() } else { format!("past the soft line: {budget}") };
                seen.push((kind, format!("{} {budget} {hard}", who()), why));
            }
            Some(Alarm::Decoy { id, word, planter }) => {
                let by = match (record.known, record.principal_id == Some(*planter)) {
                    (true, true) => ", by whoever planted it",
                    (true, false) => "",
                    (false, _) => ", without a credential that holds",
                };
                seen.push((
                    AlertKind::Decoy,
                    format!("{} {id}", who()),
                    format!("decoy {id} was touched: a {word}{by}"),
                ));
            }
            None => {}
        }
        if record.outcome == "denied"
            && self.rules.every_ms(AlertKind::Denials).is_some()
            && let Some(count) = self.denials.count(&who(), record.time_ms, &self.rules, self.shared)
        {
            let why = format!("{count} refusals of {} within {} s", who(), self.rules.within_ms / 1000);
            seen.push((AlertKind::Denials, who(), why));
        }
        if let Some(what) = record.effects.iter().find_map(policy) {
            let subject = record.subject.clone().unwrap_or_default();
            seen.push((AlertKind::Policy, who(), format!("{} ({what}): {subject}", record.action)));
        }
        if record.action == "log.conflict" {
            seen.push((AlertKind::Audit, record.reason.clone(), record.reason.clone()));
        }
        if SEAL_ACTIONS.contains(&record.action.as_str()) && record.outcome != "denied" {
            seen.push((
                AlertKind::Seal,
                record.action.clone(),
                format!("{} {}", record.action, record.reason).trim().to_owned(),
            ));
        }
        seen
    }

    fn add(
        &self,
        rising: &mut BTreeMap<Key, Rising>,
        keys: &OwnKeys,
        (kind, actor, why): (AlertKind, &str, String),
        (record, place): (&Record, (u64, u64)),
        network: Option<(u64, Key)>,
    ) {
        let Some(every) = self.rules.every_ms(kind) else { return };
        let parts: [&[u8]; 3] = [b"alert", kind.word().as_bytes(), actor.as_bytes()];
        let mut key = short(keyed_hash(&keys.index, &parts));
        let turn = if every == 0 { 0 } else { record.time_ms.div_euclid(every) };
        if every == 0 {
            // Each time: no other record has this place.
            let parts: [&[u8]; 4] = [b"alert", &key, &place.0.to_be_bytes(), &place.1.to_be_bytes()];
            key = short(keyed_hash(&keys.index, &parts));
        }
        if self.raised.get(&key) == Some(&turn) {
            return;
        }
        let alert = record.alert(kind, why, place);
        let time_ms = record.time_ms;
        rising.entry(key).or_insert(Rising { key, turn, time_ms, network, record: alert });
    }

    /// Remembers what is durable.
    pub fn keep(&mut self, risen: Risen) {
        if self.raised.len() + risen.raised.len() > KNOWN_MAX {
            self.raised.clear();
        }
        if self.networks.len() + risen.networks.len() > KNOWN_MAX {
            self.networks.clear();
        }
        self.raised.extend(risen.raised);
        self.networks.extend(risen.networks);
        self.unwritten = risen.unwritten.unwrap_or(self.unwritten);
    }
}

async fn note_network(tx: &mut AnyConnection, token: u64, key: Key) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO token_network (token, network_index) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(token as i64)
        .bind(key.to_vec())
        .execute(tx)
        .await?;
    Ok(())
}

impl Rising {
    /// Takes its turn for a place in the log; false where another record has raised it, here or on another keeper.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn claim(
        &self,
        tx: &mut AnyConnection,
        (log, seq): (u64, u64),
        risen: &mut Risen,
    ) -> Result<bool, sqlx::Error> {
        let claimed = sqlx::query(
            "INSERT INTO alert (alert_index, turn, log, seq, time_ms) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (alert_index, turn) DO NOTHING",
        )
        .bind(self.key.to_vec())
        .bind(self.turn)
        .bind(log as i64)
        .bind(seq as i64)
        .bind(self.time_ms)
        .execute(&mut *tx)
        .await?;
        risen.raised.push((self.key, self.turn));
        if claimed.rows_affected() != 1 {
            return Ok(false);
        }
        if let Some((token, key)) = self.network {
            note_network(tx, token, key).await?;
            risen.networks.push((token, key));
        }
        Ok(true)
    }
}

/// What of an effect is a change of who may do what.
fn policy(effect: &Effect) -> Option<&'static str> {
    let heavy = |part: &Compartment| matches!(part, Compartment::Weights | Compartment::Data | Compartment::Logs);
    match effect {
        Effect::Assign(_) => Some("a role was given"),
        Effect::Unassign(_) => Some("a role was taken"),
        Effect::Line(_) => Some("a line was added"),
        Effect::Unline(_) => Some("a line was taken away"),
        Effect::Share { share, .. } if share.body.compartments.iter().any(heavy) => Some("a share was made"),
        Effect::ShareLives { .. } => Some("a share was prolonged"),
        Effect::ShareRevoked { .. } => Some("a share was ended"),
        // Whoever is one of its people has what is shared with it.
        Effect::Partner { .. } => Some("a partner organisation was changed"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

//! Refusals that are many. Each keeper remembers those of its own; where several share a database, each tells the others of some at a
//! time, in a row of the actor, so that whoever is refused a little by each is told of too.

use std::collections::{BTreeMap, HashMap, VecDeque};

use sqlx::{AnyConnection, Row};
use strongroom_domain::AlertRules;

/// Actors whose refusals are remembered at once; one beyond makes all forgotten.
const ACTORS_MAX: usize = 1000;
/// Into so many parts the line is cut: one of them is told of at a time. What N keepers have not told of yet is below N parts.
const PARTS: usize = 10;

/// Those of one actor.
#[derive(Default)]
struct Own {
    /// When the last ones were, Unix milliseconds; no more than the line.
    times: VecDeque<i64>,
    untold: i64,
}

/// What a keeper remembers of refusals.
#[derive(Default)]
pub(super) struct Denials {
    own: HashMap<String, Own>,
    /// Those that the group of now tells of: when, and how many.
    telling: BTreeMap<String, (i64, i64)>,
}

impl Denials {
    /// Counts one; how many there are, where they are many. `shared`: others count too.
    pub(super) fn count(&mut self, who: &str, time_ms: i64, rules: &AlertRules, shared: bool) -> Option<usize> {
        if self.own.len() >= ACTORS_MAX && !self.own.contains_key(who) {
            self.own.clear();
        }
        let Own { times, untold } = self.own.entry(who.to_owned()).or_default();
        times.push_back(time_ms);
        if times.len() > rules.denials {
            times.pop_front();
        }
        *untold += 1;
        if shared && *untold >= rules.denials.div_ceil(PARTS) as i64 {
            // At most a part and a group.
            self.telling.insert(who.to_owned(), (time_ms, std::mem::take(untold)));
        }
        let begun = times.front().is_some_and(|first| time_ms - first <= rules.within_ms);
        (begun && times.len() >= rules.denials).then_some(times.len())
    }

    /// Tells the others; gives those whose refusals on all keepers together are many, and how many those are. Of the window before, the
    /// part counts that lies within the length of one from now.
    ///
    /// # Errors
    /// Whatever the database says.
    pub(super) async fn tell(
        &mut self,
        tx: &mut AnyConnection,
        rules: &AlertRules,
        index: impl Fn(&str) -> Vec<u8>,
    ) -> Result<BTreeMap<String, i64>, sqlx::Error> {
        let mut many = BTreeMap::new();
        // In one order on all keepers, so that none waits for another that waits for it.
        for (who, (time_ms, count)) in std::mem::take(&mut self.telling) {
            let row = sqlx::query(
                "INSERT INTO denied (actor_index, turn, latest, before) VALUES ($1, $2, $3, 0) \
                 ON CONFLICT (actor_index) DO UPDATE SET \
                 before = CASE denied.turn WHEN excluded.turn THEN denied.before WHEN excluded.turn - 1 THEN denied.latest ELSE 0 END, \
                 latest = CASE denied.turn WHEN excluded.turn THEN denied.latest + excluded.latest ELSE excluded.latest END, \
                 turn = excluded.turn RETURNING latest, before",
            )
            .bind(index(&who))
            .bind(time_ms.div_euclid(rules.within_ms))
            .bind(count)
            .fetch_one(&mut *tx)
            .await?;
            let (latest, before): (i64, i64) = (row.try_get("latest")?, row.try_get("before")?);
            let left = rules.within_ms - time_ms.rem_euclid(rules.within_ms);
            let all = latest + before * left / rules.within_ms;
            if all >= rules.denials as i64 {
                many.insert(who, all);
            }
        }
        Ok(many)
    }
}

//! Reading one row, as every request does several times: on connections that stay out of the pool. The pool asks each one that
//! comes back whether it still lives, which is another way to the database and back.

use std::sync::{Arc, Mutex, PoisonError};

use sqlx::Any;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::pool::PoolConnection;
use sqlx::query::Query;

use crate::Database;

/// Connections that are kept, at most.
pub(crate) const KEPT_MAX: usize = 4;

/// Connections whose last question was answered.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<PoolConnection<Any>>>>);

impl Kept {
    fn take(&self) -> Option<PoolConnection<Any>> {
        // A panic elsewhere leaves the list whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give(&self, connection: PoolConnection<Any>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(connection);
        }
    }
}

impl Database {
    /// The row that a query finds, or none. It may be asked twice: where a connection that was kept has died, on another.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn read_one<'q>(
        &self,
        query: impl Fn() -> Query<'q, Any, AnyArguments>,
    ) -> Result<Option<AnyRow>, sqlx::Error> {
        // One that fails, or whose question is given up, goes to the pool, which looks whether it lives.
        if let Some(mut connection) = self.kept.take()
            && let Ok(row) = query().fetch_optional(&mut *connection).await
        {
            self.kept.give(connection);
            return Ok(row);
        }
        let mut connection = self.reader.acquire().await?;
        let row = query().fetch_optional(&mut *connection).await?;
        self.kept.give(connection);
        Ok(row)
    }
}

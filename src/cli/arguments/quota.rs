//! What may be typed about quotas.

use clap::Subcommand;

use super::Remote;

/// Verbs about quotas.
#[derive(Subcommand)]
pub enum Quota {
    /// Say how many bytes a namespace may store
    Set {
        /// Which
        namespace: String,
        /// A number with KiB, MiB, GiB or TiB behind it, or of bytes
        #[arg(long, value_parser = bytes, required_unless_present = "none")]
        bytes: Option<u64>,
        /// As many as there is room for
        #[arg(long, conflicts_with = "bytes")]
        none: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// What each namespace may store, and what it does
    List {
        #[command(flatten)]
        remote: Remote,
    },
}

/// A size as it may be typed.
pub(super) fn bytes(text: &str) -> Result<u64, &'static str> {
    let wrong = "a size is a whole number, and KiB, MiB, GiB or TiB where it is not of bytes";
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(wrong),
    };
    let number: u64 = number.parse().map_err(|_| wrong)?;
    number.checked_mul(1 << shift).filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_powers_of_two_and_nothing_else_is() {
        assert_eq!(bytes("10GiB"), Ok(10 << 30));
        assert_eq!((bytes("0"), bytes("7 MiB"), bytes("12B")), (Ok(0), Ok(7 << 20), Ok(12)));
        for wrong in ["", "GiB", "-1", "1.5GiB", "10GB", "9999999TiB", "99999999999999999999"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}

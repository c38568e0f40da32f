//! Cipher suites: each part on the backend that does it for less.

use std::time::{Duration, Instant};

use tokio_rustls::rustls::crypto::cipher::{AeadKey, Iv, OutboundChunks, OutboundPlainMessage};
use tokio_rustls::rustls::crypto::{aws_lc_rs, ring};
use tokio_rustls::rustls::{
    CipherSuite, CipherSuiteCommon, ContentType, ProtocolVersion, SupportedCipherSuite, Tls13CipherSuite,
};

/// Bytes of a full record (RFC 8446 section 5.1), as a large answer has them.
const RECORD: usize = 16 * 1024;
/// Records of one turn, and turns of each backend: about a millisecond in all.
const RECORDS: u64 = 16;
const TURNS: usize = 7;

/// The suites of a listener. Records are the dearest part of a large answer, and which backend seals them for less is the
/// processor's to say (docs/performance.md): AES-256-GCM costs ring half of what it costs aws-lc on one, and aws-lc two thirds of
/// ring on another. So they are timed, once, at the start. Hashes and key schedules are aws-lc's, whose SHA-384 costs half of ring's
/// on both, and there are dozens of them in a handshake.
pub fn suites() -> Vec<SupportedCipherSuite> {
    let backends = [("ring", ring::DEFAULT_CIPHER_SUITES), ("aws-lc", aws_lc_rs::DEFAULT_CIPHER_SUITES)];
    let times = backends.map(|(_, suites)| sealing(suites));
    let (records, suites) = backends[usize::from(times[1] < times[0])];
    tracing::info!(records, ring = ?times[0], aws_lc = ?times[1], "TLS records");
    suites.iter().map(with_hashes_of_aws_lc).collect()
}

fn with_hashes_of_aws_lc(suite: &SupportedCipherSuite) -> SupportedCipherSuite {
    let SupportedCipherSuite::Tls13(records) = suite else { return *suite };
    let same = |other: &&SupportedCipherSuite| other.suite() == suite.suite();
    let other = aws_lc_rs::DEFAULT_CIPHER_SUITES.iter().find(same);
    let Some(SupportedCipherSuite::Tls13(hashes)) = other else { return *suite };
    let common = CipherSuiteCommon { hash_provider: hashes.common.hash_provider, ..records.common };
    let joined =
        Tls13CipherSuite { common, hkdf_provider: hashes.hkdf_provider, aead_alg: records.aead_alg, quic: None };
    // Three of them, once in a process's life.
    SupportedCipherSuite::Tls13(Box::leak(Box::new(joined)))
}

/// What some full records cost to seal with AES-256-GCM, which clients ask for first. The shortest of some turns: what else the
/// machine does makes turns longer, never shorter.
fn sealing(suites: &[SupportedCipherSuite]) -> Duration {
    let aes = suites.iter().find_map(|suite| match suite {
        SupportedCipherSuite::Tls13(suite) if suite.common.suite == CipherSuite::TLS13_AES_256_GCM_SHA384 => {
            Some(suite)
        }
        _ => None,
    });
    let Some(aes) = aes else { return Duration::MAX };
    let mut sealer = aes.aead_alg.encrypter(AeadKey::from([0; 32]), Iv::from([0; 12]));
    let plain = vec![0; RECORD];
    let mut turn = |turn: u64| {
        let since = Instant::now();
        for at in 0..RECORDS {
            let payload = OutboundChunks::Single(&plain);
            let record =
                OutboundPlainMessage { typ: ContentType::ApplicationData, version: ProtocolVersion::TLSv1_3, payload };
            let sealed = sealer.encrypt(record, turn * RECORDS + at);
            if std::hint::black_box(sealed).is_err() {
                return Duration::MAX;
            }
        }
        since.elapsed()
    };
    (0..TURNS as u64).map(&mut turn).min().unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_backend_seals_records_all_suites_are_there_and_hashes_are_aws_lcs() {
        for suites in [ring::DEFAULT_CIPHER_SUITES, aws_lc_rs::DEFAULT_CIPHER_SUITES] {
            assert!(sealing(suites) < Duration::from_secs(1), "it seals");
            let joined: Vec<_> = suites.iter().map(with_hashes_of_aws_lc).collect();
            assert_eq!(
                joined.iter().map(|suite| suite.suite()).collect::<Vec<_>>(),
                suites.iter().map(|suite| suite.suite()).collect::<Vec<_>>()
            );
            for (joined, own) in joined.iter().zip(suites) {
                let (SupportedCipherSuite::Tls13(joined), SupportedCipherSuite::Tls13(own)) = (joined, own) else {
                    continue;
                };
                let lc = aws_lc_rs::DEFAULT_CIPHER_SUITES.iter().find(|suite| suite.suite() == own.common.suite);
                let Some(SupportedCipherSuite::Tls13(lc)) = lc else { panic!("{:?} on aws-lc", own.common.suite) };
                assert!(std::ptr::addr_eq(joined.common.hash_provider, lc.common.hash_provider));
                assert!(std::ptr::addr_eq(joined.aead_alg, own.aead_alg));
            }
        }
    }
}

//! The keeper's own code, alone, for benches/growth: makes long logs of real records, and measures decisions and durable
//! records. Prints a line of JSON for each figure. Never run it on data that anyone needs.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use strongroom_database::Remote;
use strongroom_domain::{Action, Compartment, Role};
use strongroom_keeper::log::{Entry, Record};
use strongroom_keeper::policy::{Assignment, Place, Policy, PrincipalId, Question, Roles};
use strongroom_keeper::root::{Root, RootSource};
use strongroom_keeper::{Core, Settings, open};

/// As the server has it (src/main.rs).
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

const MODEL: &str = include_str!("../policies/model.conf");
const ROLES: &str = include_str!("../policies/roles.csv");
const DUAL_CONTROL: &str = include_str!("../policies/dual-control.toml");
/// Principals, repositories, tokens and addresses of the records that are made, each.
const KINDS: u64 = 100;
/// Milliseconds between two records that are made.
const APART_MS: i64 = 30;

type Failed = Box<dyn std::error::Error>;

fn settings(data_dir: &Path, database: Option<Remote>) -> Settings {
    Settings {
        data_dir: data_dir.to_owned(),
        root: strongroom_keeper::root::RootSource::Shares,
        database,
        origin: "strongroom".to_owned(),
        recovery: Vec::new(),
        next_root: None,
        token_life_max_s: 3600,
        share_life_max_s: 3600,
        recertify_max_s: 3600,
        model: MODEL.to_owned(),
        roles: ROLES.to_owned(),
        dual_control: DUAL_CONTROL.to_owned(),
        budgets: include_str!("../policies/budgets.toml").to_owned(),
        alerts: include_str!("../policies/alerts.toml").to_owned(),
        witness: include_str!("../policies/witness.toml").to_owned(),
        witnesses: Vec::new(),
    }
}

async fn core(data_dir: &Path, root_key: &str, remote: Option<Remote>) -> Result<Arc<Core>, Failed> {
    let Root::Identity(root) = RootSource::File(PathBuf::from(root_key)).read()? else {
        return Err("the root key is sealed".into());
    };
    Ok(open(settings(data_dir, remote), root).await?)
}

/// As reading a file of many parts makes them, three to a read: the decision, the opening, the delivery. Each kind of thing is
/// spread over the log differently.
fn record(n: u64, time_ms: i64) -> Record {
    const PART: u64 = 64 << 20;
    let read = n / 3;
    let repo = read / 11 % KINDS;
    let (start, file) = (read / 17 % 64 * PART, read / 13 % 16);
    let (range, bytes) = (Some((start, start + PART)), Some(PART));
    let asked = Record {
        time_ms,
        action: "repo.read".to_owned(),
        outcome: "allowed".to_owned(),
        principal: Some(format!("person-{}", read % KINDS)),
        principal_id: Some(1 + read % KINDS),
        token: Some(1 + read / 3 % KINDS),
        address: format!("10.0.0.{}", read / 7 % KINDS),
        request_id: format!("{read:032x}"),
        route: "GET /{ns}/{name}/resolve/{rev}/{*path}".to_owned(),
        kind: Some("model".to_owned()),
        repo: Some(format!("admin/r{repo}")),
        repo_id: Some(1 + repo),
        revision: Some("main".to_owned()),
        compartments: ["docs", "config", "weights"].map(str::to_owned).to_vec(),
        path: Some(format!("model-{:05}-of-00016.safetensors", 1 + file)),
        generation: 1,
        ..Record::default()
    };
    let (revision, compartments) = (Some(format!("{repo:040x}")), vec!["weights".to_owned()]);
    match n % 3 {
        0 => asked,
        1 => Record { action: "object.open".to_owned(), revision, compartments, range, ..asked },
        _ => Record {
            action: "object.deliver".to_owned(),
            outcome: "done".to_owned(),
            revision,
            compartments,
            range,
            bytes,
            ..asked
        },
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Grows the log of a server that is stopped up to a size.
async fn log(data_dir: &Path, root_key: &str, size: u64) -> Result<(), Failed> {
    let core = core(data_dir, root_key, None).await?;
    let (first, since) = (core.log.position().size, Instant::now());
    let begin = now_ms() - (size - first.min(size)) as i64 * APART_MS;
    let next = Arc::new(AtomicU64::new(first));
    let mut tasks = Vec::new();
    for _ in 0..1024 {
        let (core, next) = (core.clone(), next.clone());
        tasks.push(tokio::spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= size {
                    return Ok(());
                }
                let record = record(n, begin + (n - first) as i64 * APART_MS);
                let appended = core.log.append(Entry { record, ..Entry::default() }).await;
                appended.map(drop).map_err(|error| error.to_string())?;
            }
        }));
    }
    for task in tasks {
        task.await?.map_err(|error: String| error)?;
    }
    let seconds = since.elapsed().as_secs_f64();
    println!("{}", json!({"size": core.log.position().size, "made": size.saturating_sub(first), "seconds": seconds}));
    Ok(())
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Decisions at a number of grants: twenty people in each namespace.
fn decide(grants: u64, rounds: usize) -> Result<(), Failed> {
    const EACH: u64 = 20;
    let roles = Roles::parse(ROLES)?;
    let held = |n: u64| Assignment {
        principal: PrincipalId(1 + n),
        role: [Role::Reader, Role::Writer, Role::Maintainer, Role::Owner][(n % 4) as usize],
        place: Place::Namespace(1 + n / EACH),
    };
    let before = resident_kib();
    let since = Instant::now();
    let mut policy = Policy::new(MODEL, &roles, (0..grants).map(held), [])?;
    let (load_ms, kib) = (since.elapsed().as_secs_f64() * 1e3, resident_kib().saturating_sub(before));
    let question = |n: u64, own: bool| {
        let n = n * 7919 % grants;
        let namespace = Some(1 + if own { n / EACH } else { (n / EACH + 1) % grants.div_ceil(EACH) });
        let (action, compartment) = (Action::RepoRead, Some(Compartment::Weights));
        Question { principal: PrincipalId(1 + n), share: None, action, compartment, namespace, repo: Some(1 + n) }
    };
    const ASKED: u64 = 2000;
    let mut asked = 0;
    let time = |policy: &Policy, from: u64, own: bool| {
        let since = Instant::now();
        let allowed = (from..from + ASKED).filter(|n| policy.allows(&question(*n, own))).count();
        assert!(allowed == if own { ASKED as usize } else { 0 }, "{allowed} of {ASKED} at {grants} grants");
        since.elapsed().as_secs_f64() * 1e6 / ASKED as f64
    };
    let more = Assignment { principal: PrincipalId(1), role: Role::Auditor, place: Place::Repo(1) };
    let mut measured: [Vec<f64>; 6] = Default::default();
    for _ in 0..=rounds {
        let [allow, refuse, warm, parts, add, take] = &mut measured;
        let since = Instant::now();
        policy.assign(more);
        add.push(since.elapsed().as_secs_f64() * 1e6);
        let since = Instant::now();
        policy.unassign(more);
        take.push(since.elapsed().as_secs_f64() * 1e6);
        // The change has emptied what was kept. At few grants the same is asked again within a round: then it is kept.
        let distinct = ASKED.min(grants);
        let cold = |policy: &mut Policy, own: bool, from: u64| {
            let mut total = 0.0;
            for n in from..from + distinct {
                let since = Instant::now();
                assert_eq!(policy.allows(&question(n, own)), own);
                total += since.elapsed().as_secs_f64() * 1e6;
            }
            total / distinct as f64
        };
        allow.push(cold(&mut policy, true, asked));
        warm.push(time(&policy, asked, true));
        refuse.push(cold(&mut policy, false, asked));
        // All compartments of a repository that was not asked about: what `Authorize` asks.
        policy.assign(more);
        policy.unassign(more);
        let since = Instant::now();
        for n in asked..asked + distinct {
            assert!(policy.compartments(&question(n, true)).len() >= 5);
        }
        parts.push(since.elapsed().as_secs_f64() * 1e6 / distinct as f64);
        asked += ASKED;
    }
    let [allow, refuse, warm, parts, add, take] = measured.map(|mut values| median(values.split_off(1)));
    println!(
        "{}",
        json!({
            "grants": grants, "allow_us": allow, "refuse_us": refuse, "kept_us": warm, "compartments_us": parts,
            "add_us": add, "remove_us": take, "load_ms": load_ms, "kib": kib,
        })
    );
    Ok(())
}

/// User and system time of this process, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // utime and stime (proc(5)), in ticks of 10 ms.
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Records a second, with so many in flight, for a while.
async fn rate<F: Future<Output = Result<(), String>> + Send>(
    flight: u64,
    seconds: f64,
    append: impl Fn(u64) -> F + Clone + Send + 'static,
) -> Result<(f64, f64), Failed> {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (since, before) = (Instant::now(), cpu());
    let mut tasks = Vec::new();
    for at in 0..flight {
        let (stop, done, append) = (stop.clone(), done.clone(), append.clone());
        tasks.push(tokio::spawn(async move {
            let mut n = at;
            while !stop.load(Ordering::Relaxed) {
                append(n).await?;
                done.fetch_add(1, Ordering::Relaxed);
                n += flight;
            }
            Ok::<_, String>(())
        }));
    }
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    let count = done.load(Ordering::Relaxed) as f64;
    Ok((count / since.elapsed().as_secs_f64(), (cpu() - before) * 1e6 / count.max(1.0)))
}

/// Bytes of a record in the file: as many as a stored leaf has.
const LEAF_BYTES: usize = 700;
/// Bytes of the file before it begins anew.
const FILE_BYTES: u64 = 256 << 20;

type Waiting = tokio::sync::oneshot::Sender<()>;

/// The peer: a file that is there already, written at its end by groups, each made durable before anyone is answered.
fn file(path: &Path) -> Result<tokio::sync::mpsc::Sender<Waiting>, Failed> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    let zeroes = vec![0; 1 << 20];
    for at in 0..FILE_BYTES >> 20 {
        file.write_all_at(&zeroes, at << 20)?;
    }
    file.sync_all()?;
    let (send, mut receive) = tokio::sync::mpsc::channel::<Waiting>(4096);
    std::thread::spawn(move || {
        let mut at = 0;
        while let Some(first) = receive.blocking_recv() {
            let mut group = vec![first];
            while group.len() < 256 {
                let Ok(more) = receive.try_recv() else { break };
                group.push(more);
            }
            let bytes = vec![7; group.len() * LEAF_BYTES];
            at = if at + bytes.len() as u64 > FILE_BYTES { 0 } else { at };
            file.write_all_at(&bytes, at).and_then(|()| file.sync_data()).expect("the disk");
            at += bytes.len() as u64;
            group.into_iter().for_each(|waiting| waiting.send(()).unwrap_or_default());
        }
    });
    Ok(send)
}

/// Durable records, ours and a file's in turn.
async fn records(data_dir: &Path, root_key: &str, remote: Option<Remote>, rounds: usize) -> Result<(), Failed> {
    let database = if remote.is_some() { "postgresql" } else { "sqlite" };
    let core = core(data_dir, root_key, remote).await?;
    let send = file(&data_dir.join("peer.bin"))?;
    for flight in [1, 16, 64] {
        let mut measured: [Vec<f64>; 4] = Default::default();
        for _ in 0..=rounds {
            let core = core.clone();
            let (ours, ours_cpu) = rate(flight, 1.0, move |n| {
                let core = core.clone();
                async move {
                    let entry = Entry { record: record(n, now_ms()), ..Entry::default() };
                    core.log.append(entry).await.map(drop).map_err(|error| error.to_string())
                }
            })
            .await?;
            let send = send.clone();
            let (theirs, theirs_cpu) = rate(flight, 1.0, move |_| {
                let send = send.clone();
                async move {
                    let (done, landed) = tokio::sync::oneshot::channel();
                    send.send(done).await.map_err(|error| error.to_string())?;
                    landed.await.map_err(|error| error.to_string())
                }
            })
            .await?;
            for (values, value) in measured.iter_mut().zip([ours, theirs, ours_cpu, theirs_cpu]) {
                values.push(value);
            }
        }
        let ratios = measured[0].iter().zip(&measured[1]).map(|(ours, theirs)| ours / theirs);
        let ratio = median(ratios.skip(1).collect());
        let [ours, theirs, ours_cpu, theirs_cpu] = measured.map(|mut values| median(values.split_off(1)));
        println!(
            "{}",
            json!({
                "database": database, "flight": flight, "ours": ours, "file": theirs, "ratio": ratio,
                "ours_cpu_us": ours_cpu, "file_cpu_us": theirs_cpu, "size": core.log.position().size,
            })
        );
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["log", data_dir, root_key, size] => log(Path::new(data_dir), root_key, size.parse()?).await,
        ["decide", grants, rounds] => decide(grants.parse()?, rounds.parse()?),
        ["records", data_dir, root_key, rounds] => records(Path::new(data_dir), root_key, None, rounds.parse()?).await,
        ["records", data_dir, root_key, rounds, url, password] => {
            let remote = url.parse::<Remote>()?.with_password_in(Path::new(password))?;
            records(Path::new(data_dir), root_key, Some(remote), rounds.parse()?).await
        }
        _ => Err("usage: keeper-bench log DATA_DIR ROOT_KEY SIZE | decide GRANTS ROUNDS | \
                  records DATA_DIR ROOT_KEY ROUNDS [POSTGRES_URL PASSWORD_FILE]"
            .into()),
    }
}

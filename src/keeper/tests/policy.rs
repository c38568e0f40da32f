//! The judge, on the files that ship: who may do what, and how it fails.

use strongroom_domain::{Action, Compartment, Role};
use strongroom_keeper::policy::{Assignment, Line, Place, Policy, PrincipalId, Question, Roles};

const MODEL: &str = include_str!("../../../policies/model.conf");
const ROLES: &str = include_str!("../../../policies/roles.csv");

const ANNA: PrincipalId = PrincipalId(1);
const STRANGER: PrincipalId = PrincipalId(99);
const ACME: u64 = 10;
const LLM: u64 = 100;

fn policy(held: &[(PrincipalId, Role, Place)], lines: &[Line]) -> Policy {
    let held = held.iter().map(|&(principal, role, place)| Assignment { principal, role, place });
    Policy::new(MODEL, &Roles::parse(ROLES).expect("the shipped roles"), held, lines.iter().copied())
        .expect("the shipped model")
}

fn ask(principal: PrincipalId, action: Action, compartment: Option<Compartment>) -> Question {
    Question { principal, share: None, action, compartment, namespace: Some(ACME), repo: Some(LLM) }
}

fn read(principal: PrincipalId, compartment: Compartment) -> Question {
    ask(principal, Action::RepoRead, Some(compartment))
}

fn line(action: Action, compartment: Option<Compartment>, place: Place, allow: bool) -> Line {
    Line { principal: ANNA, action, compartment, place, allow }
}

/// The whole matrix, as a picture: a change of policy/roles.csv or of the model shows here.
#[test]
fn each_role_may_do_what_the_matrix_says_and_nothing_else() {
    let mut matrix = String::new();
    for &role in Role::ALL {
        let policy = policy(&[(ANNA, role, Place::Namespace(ACME))], &[]);
        let rights = Action::ALL.iter().filter_map(|&action| {
            let parts = policy.compartments(&ask(ANNA, action, None)).into_iter().map(Compartment::word);
            let parts = parts.collect::<Vec<_>>().join("+");
            let bare = policy.allows(&ask(ANNA, action, None));
            (bare || !parts.is_empty()).then(|| if bare { action.to_string() } else { format!("{action}({parts})") })
        });
        matrix += &format!("{role}: {}\n", rights.collect::<Vec<_>>().join(" "));
    }
    let all = "docs+config+weights+data+logs+code";
    let expected = format!(
        "reader: repo.read(docs+config+weights+data+code) repo.list whoami\n\
         writer: repo.read({all}) repo.list repo.write({all}) whoami\n\
         maintainer: repo.read({all}) repo.list repo.write({all}) repo.manage share.manage whoami\n\
         owner: repo.read({all}) repo.list repo.write({all}) repo.create repo.manage repo.delete share.manage whoami review.manage\n\
         partner: whoami\n\
         auditor: whoami audit.read alert.read\n\
         security: whoami lock.manage audit.read alert.read decoy.manage metrics.read system.seal\n\
         monitor: whoami metrics.read\n\
         admin: whoami user.manage role.manage token.manage lock.manage metrics.read system.seal quota.manage partner.manage review.manage key.rotate\n"
    );
    assert_eq!(matrix, expected);
}

#[test]
fn a_stranger_may_do_nothing_at_all() {
    let policy = policy(&[(ANNA, Role::Owner, Place::System)], &[]);
    for &action in Action::ALL {
        assert!(!policy.allows(&ask(STRANGER, action, None)), "{action}");
        assert_eq!(policy.compartments(&ask(STRANGER, action, None)), [], "{action}");
    }
}

#[test]
fn a_role_reaches_no_further_than_its_place() {
    let in_repo = policy(&[(ANNA, Role::Reader, Place::Repo(LLM))], &[]);
    assert!(in_repo.allows(&read(ANNA, Compartment::Docs)));
    assert!(!in_repo.allows(&Question { repo: Some(LLM + 1), ..read(ANNA, Compartment::Docs) }));
    let in_namespace = policy(&[(ANNA, Role::Reader, Place::Namespace(ACME))], &[]);
    assert!(in_namespace.allows(&Question { repo: Some(LLM + 1), ..read(ANNA, Compartment::Docs) }));
    assert!(!in_namespace.allows(&Question { namespace: Some(ACME + 1), ..read(ANNA, Compartment::Docs) }));
    // The same number as a namespace and as a repository are two places.
    let twin = policy(&[(ANNA, Role::Reader, Place::Namespace(LLM))], &[]);
    assert!(!twin.allows(&read(ANNA, Compartment::Docs)));
}

#[test]
fn a_denial_wins_over_every_role_where_it_stands_and_only_there() {
    let denial = line(Action::RepoRead, Some(Compartment::Weights), Place::Repo(LLM), false);
    let held = [(ANNA, Role::Owner, Place::Namespace(ACME)), (ANNA, Role::Reader, Place::System)];
    let policy = policy(&held, &[denial]);
    assert!(!policy.allows(&read(ANNA, Compartment::Weights)));
    assert!(policy.allows(&read(ANNA, Compartment::Docs)));
    assert!(policy.allows(&Question { repo: Some(LLM + 1), ..read(ANNA, Compartment::Weights) }));
    assert!(policy.allows(&ask(ANNA, Action::RepoWrite, Some(Compartment::Weights))));
}

#[test]
fn breaking_the_glass_takes_a_line_that_names_the_person() {
    let recover = ask(ANNA, Action::KeyRecover, Some(Compartment::Weights));
    let owner = [(ANNA, Role::Owner, Place::System)];
    assert!(!policy(&owner, &[]).allows(&recover));
    let named = line(Action::KeyRecover, Some(Compartment::Weights), Place::Repo(LLM), true);
    let policy = policy(&owner, &[named]);
    assert!(policy.allows(&recover));
    assert!(!policy.allows(&Question { principal: STRANGER, ..recover }));
    assert!(!policy.allows(&Question { compartment: Some(Compartment::Data), ..recover }));
}

#[test]
fn a_policy_without_lines_allows_nothing() {
    let nothing = Roles::parse("# nothing\n").expect("an empty file");
    let held = [Assignment { principal: ANNA, role: Role::Owner, place: Place::System }];
    let policy = Policy::new(MODEL, &nothing, held, []).expect("the shipped model");
    assert!(Action::ALL.iter().all(|&action| !policy.allows(&ask(ANNA, action, None))));
}

#[test]
fn the_same_line_twice_builds_no_policy_rather_than_lose_a_denial() {
    let denial = line(Action::RepoRead, Some(Compartment::Docs), Place::System, false);
    let roles = Roles::parse(ROLES).expect("the shipped roles");
    assert!(Policy::new(MODEL, &roles, [], [denial, denial]).is_err());
}

#[test]
fn a_mistake_in_the_roles_is_refused_with_its_line() {
    for bad in [
        "reader, repo.read",
        "reader, repo.read, docs, allow",
        "root, repo.read, docs",
        "reader, repo.reed, docs",
        "reader, repo.read, dox",
        "reader, repo.read, -",
        "reader, repo.read, docs docs",
        "reader, whoami, docs",
        "reader, whoami,",
    ] {
        let error = Roles::parse(&format!("# one\nreader, repo.list, -\n{bad}\n")).map(|_| ()).expect_err(bad);
        assert!(error.to_string().starts_with("policies/roles.csv, line 3:"), "{bad}: {error}");
    }
}

#[test]
fn a_change_holds_from_the_next_question_on() {
    let mut policy = policy(&[], &[]);
    let question = read(ANNA, Compartment::Docs);
    let reader = Assignment { principal: ANNA, role: Role::Reader, place: Place::Repo(LLM) };
    let denial = line(Action::RepoRead, Some(Compartment::Docs), Place::System, false);
    assert!(!policy.allows(&question));
    policy.assign(reader);
    assert!(policy.allows(&question));
    policy.add(denial).expect("a first line");
    assert!(!policy.allows(&question), "a denial");
    assert!(policy.allows(&read(ANNA, Compartment::Config)), "the denial's own compartment alone");
    policy.remove(denial);
    assert!(policy.allows(&question));
    policy.unassign(reader);
    assert!(!policy.allows(&question));
    assert_eq!(policy.compartments(&question), []);
}

//! Random rollouts, step by step on a real server and in a small model of SPEC.md; they agree after every step.
//!
//! A rollout that differs is shrunk and printed. A plain run draws the same 150 rollouts each time, so that no merge hangs on
//! the luck of the draw; `LOCKKEEPER_MODEL_ROLLOUTS` draws as many others, from a seed that it prints (`PROPTEST_RNG_SEED`
//! draws them again).

mod model;
mod real;
#[path = "../support/mod.rs"]
mod support;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

use model::{Claim, Command, Model, OnFailure, Policies, Policy, State};
use real::{Real, Seen};
use support::TestDatabase;

#[derive(Clone, Copy, Debug)]
enum Step {
    ClaimCopy {
        scoped: bool,
    },
    ClaimCutover {
        scoped: bool,
    },
    /// What its driver does next when all goes well.
    Proceed(usize),
    Beat(usize),
    Fail(usize, bool),
    Release(usize),
    TakeLease(usize),
    /// A minute passes, without a heartbeat.
    Age(usize),
    /// A call that may be out of place.
    Stray(usize, Call),
    /// A former owner wakes up.
    Late(usize, Call),
    Ask(Command),
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Arrive,
    BeginCutover,
    Swapped,
    Complete,
    BeginRevert,
    Reverted,
    Stopped,
    Cancelled,
}

impl Call {
    fn procedure(self) -> &'static str {
        match self {
            Call::Arrive => "operation_arrive",
            Call::BeginCutover => "operation_begin_cutover",
            Call::Swapped => "operation_swapped",
            Call::Complete => "operation_complete",
            Call::BeginRevert => "operation_begin_revert",
            Call::Reverted => "operation_reverted",
            Call::Stopped => "operation_stopped",
            Call::Cancelled => "operation_cancelled",
        }
    }

    fn more(self) -> &'static str {
        match self {
            Call::Arrive | Call::Swapped => ", NULL",
            _ => "",
        }
    }
}

fn policies() -> impl Strategy<Value = Policies> {
    (
        1..=5_usize,
        prop_oneof![
            Just(Policy::Rolling),
            Just(Policy::Barrier),
            Just(Policy::Parallel)
        ],
        any::<bool>(),
        prop_oneof![
            Just(OnFailure::Halt),
            Just(OnFailure::Continue),
            Just(OnFailure::Pause)
        ],
        proptest::option::weighted(0.3, 1..=3_usize),
        proptest::bool::weighted(0.3),
        prop_oneof![Just(0_i64), Just(100)],
        any::<bool>(),
    )
        .prop_map(
            |(operations, policy, all, on_failure, max_copies, defer, window_seconds, scope)| {
                Policies {
                    operations,
                    policy,
                    all_parked: all && policy != Policy::Rolling,
                    on_failure,
                    max_copies,
                    defer,
                    window_seconds,
                    scope_apply: scope,
                }
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..5_usize;
    let call = prop_oneof![
        Just(Call::Arrive),
        Just(Call::BeginCutover),
        Just(Call::Swapped),
        Just(Call::Complete),
        Just(Call::BeginRevert),
        Just(Call::Reverted),
        Just(Call::Stopped),
        Just(Call::Cancelled),
    ];
    let command = prop_oneof![
        3 => Just(Command::Stop),
        4 => Just(Command::Start),
        1 => Just(Command::Cancel),
        2 => Just(Command::Cutover),
        1 => Just(Command::CutoverAll),
        1 => Just(Command::Release),
        2 => Just(Command::Revert),
        1 => Just(Command::RevertLast),
        1 => Just(Command::SkipRevert),
    ];
    prop_oneof![
        8 => any::<bool>().prop_map(|scoped| Step::ClaimCopy { scoped }),
        5 => any::<bool>().prop_map(|scoped| Step::ClaimCutover { scoped }),
        14 => at.clone().prop_map(Step::Proceed),
        2 => at.clone().prop_map(Step::Beat),
        2 => (at.clone(), proptest::bool::weighted(0.7)).prop_map(|(at, transient)| Step::Fail(at, transient)),
        1 => at.clone().prop_map(Step::Release),
        1 => at.clone().prop_map(Step::TakeLease),
        3 => at.clone().prop_map(Step::Age),
        1 => (at.clone(), call.clone()).prop_map(|(at, call)| Step::Stray(at, call)),
        1 => (at, call).prop_map(|(at, call)| Step::Late(at, call)),
        5 => command.prop_map(Step::Ask),
    ]
}

fn expected(model: &Model) -> Seen {
    let all = 0..model.operations.len();
    Seen {
        states: model
            .operations
            .iter()
            .map(|o| o.state.name().to_owned())
            .collect(),
        leased: model
            .operations
            .iter()
            .map(|o| o.lease_age.is_some())
            .collect(),
        claimable: all
            .clone()
            .filter_map(|at| {
                let claim = match model.claimable(at)? {
                    Claim::Copy => "copy",
                    Claim::Cutover => "cutover",
                };
                Some((at, claim.to_owned()))
            })
            .collect(),
        blocked: all
            .filter_map(|at| {
                let (gate, cause) = model.blocked(at)?;
                Some((at, (gate.to_owned(), cause.blocker())))
            })
            .collect::<BTreeMap<_, _>>(),
        apply_state: model.apply_state().to_owned(),
        requests: model
            .requests
            .iter()
            .map(|(command, status)| ((*command).to_owned(), (*status).to_owned()))
            .collect(),
        inconsistent: 0,
    }
}

/// What the driver of a leased operation would do now.
fn next_call(model: &Model, at: usize) -> Option<Call> {
    match (model.operations[at].state, model.directive(at)) {
        (_, "stop") => Some(Call::Stopped),
        (State::Cancelling, _) => Some(Call::Cancelled),
        (State::Running, _) => Some(Call::Arrive),
        (State::WaitingForCutover, "cutover") => Some(Call::BeginCutover),
        (State::CuttingOver, _) => Some(Call::Swapped),
        (State::RevertWindow, "revert") => Some(Call::BeginRevert),
        (State::RevertWindow, _) => Some(Call::Complete),
        (State::Reverting, _) => Some(Call::Reverted),
        _ => None,
    }
}

fn in_model(model: &mut Model, at: usize, call: Call) -> Result<Option<&'static str>, u16> {
    let done = match call {
        Call::Arrive => return model.arrive(at).map(Some).map_err(|_| 50201),
        Call::BeginCutover => model.begin_cutover(at),
        Call::Swapped => model.swapped(at),
        Call::Complete => model.complete(at),
        Call::BeginRevert => model.begin_revert(at),
        Call::Reverted => model.reverted(at),
        Call::Stopped => model.stopped(at),
        Call::Cancelled => model.cancelled(at),
    };
    done.map(|()| None).map_err(|_| 50201)
}

async fn take(step: Step, model: &mut Model, real: &mut Real) -> Result<(), TestCaseError> {
    let count = model.operations.len();
    match step {
        Step::ClaimCopy { scoped } => claim(Claim::Copy, scoped, model, real).await?,
        Step::ClaimCutover { scoped } => claim(Claim::Cutover, scoped, model, real).await?,
        Step::Proceed(at) | Step::Stray(at, _) => {
            let at = at % count;
            let call = match step {
                Step::Stray(_, call) => Some(call),
                _ => next_call(model, at),
            };
            let (Some(call), Some(_)) = (call, model.operations[at].lease_age) else {
                return Ok(());
            };
            let wanted = in_model(model, at, call);
            let got = real.driver(call.procedure(), at, call.more()).await;
            match (wanted, got) {
                (Ok(Some(decision)), Ok(answer)) => prop_assert_eq!(decision, answer),
                (Ok(None), Ok(_)) => {}
                (Err(wanted), Err(got)) => prop_assert_eq!(wanted, got),
                (wanted, got) => {
                    prop_assert!(false, "{call:?} of {at}: model {wanted:?}, server {got:?}");
                }
            }
        }
        Step::Beat(at) => {
            let at = at % count;
            if model.operations[at].lease_age.is_some() {
                let got = real.driver("operation_heartbeat", at, ", NULL, NULL").await;
                prop_assert_eq!(Ok(model.heartbeat(at).to_owned()), got);
            }
        }
        Step::Fail(at, transient) => {
            let at = at % count;
            if model.operations[at].lease_age.is_some() {
                model.fail(at, transient);
                let more = format!(", 'it broke', {}", i32::from(transient));
                let got = real.driver("operation_fail", at, &more).await;
                prop_assert!(got.is_ok(), "{got:?}");
            }
        }
        Step::Release(at) => {
            let at = at % count;
            if model.operations[at].lease_age.is_some() {
                model.release_lease(at);
                let got = real.driver("operation_release", at, "").await;
                prop_assert!(got.is_ok(), "{got:?}");
            }
        }
        Step::TakeLease(at) => {
            let at = at % count;
            let leased = model.operations[at].lease_age.is_some();
            let got = real.take_lease(at).await;
            prop_assert_eq!(got.is_ok(), leased);
            if leased {
                model.release_lease(at);
                // Not spent by its owner: from now on as good as none.
                real.lost[at] = real.tokens[at].take();
            }
        }
        Step::Age(at) => {
            let at = at % count;
            model.age(at, 61);
            real.age(at, 61).await;
        }
        Step::Late(at, call) => {
            let at = at % count;
            if let Some(token) = real.lost[at].clone() {
                let got = real
                    .with_token(call.procedure(), at, &token, call.more())
                    .await;
                prop_assert_eq!(got, Err(50101));
            }
        }
        Step::Ask(command) => {
            let open = (0..count).rfind(|&at| model.operations[at].state == State::RevertWindow);
            let wanted = model.command(command).map_err(|_| 50501);
            let got = real.command(command, open).await.map(|_| ());
            prop_assert_eq!(wanted, got);
        }
    }
    Ok(())
}

async fn claim(
    claim: Claim,
    scoped: bool,
    model: &mut Model,
    real: &mut Real,
) -> Result<(), TestCaseError> {
    let by_view = real.next_by_view(claim).await;
    let claimed = real.claim(claim, scoped).await;
    prop_assert_eq!(
        by_view,
        claimed.as_ref().map(|(at, ..)| real.operations[*at])
    );
    let offered: Vec<usize> = (0..model.operations.len())
        .filter(|&at| model.claimable(at) == Some(claim))
        .collect();
    let Some((at, previous, state)) = claimed else {
        prop_assert!(offered.is_empty(), "nothing was handed out of {offered:?}");
        return Ok(());
    };
    prop_assert!(offered.contains(&at), "{at} was handed out, of {offered:?}");
    prop_assert_eq!(previous, model.operations[at].state.name());
    model.claim(at, claim);
    prop_assert_eq!(state, model.operations[at].state.name());
    Ok(())
}

/// The server's clock goes on; a rollout that gets near the first wait of a retry is cut short.
const LONGEST: Duration = Duration::from_secs(4);

/// Answers how many steps agreed, and whether it was cut short.
async fn roll_out(
    policies: &Policies,
    steps: &[Step],
    real: &mut Real,
) -> Result<(usize, bool), TestCaseError> {
    let mut model = Model::submitted(policies.clone());
    let start = Instant::now();
    for (number, step) in steps.iter().enumerate() {
        let taken = take(*step, &mut model, real).await;
        let seen = real
            .look()
            .await
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        if start.elapsed() > LONGEST {
            return Ok((number, true));
        }
        taken?;
        prop_assert_eq!(
            expected(&model),
            seen,
            "model and server after step {} {:?}",
            number,
            step
        );
        if model.settled() {
            return Ok((number, false));
        }
    }
    Ok((steps.len(), false))
}

#[test]
fn random_rollouts_go_as_the_model_says() {
    let asked_for = std::env::var("LOCKKEEPER_MODEL_ROLLOUTS")
        .ok()
        .map(|text| text.parse().expect("LOCKKEEPER_MODEL_ROLLOUTS: a number"));
    let seed = match (Config::default().rng_seed, asked_for) {
        (RngSeed::Fixed(seed), _) => seed,
        (RngSeed::Random, None) => 1,
        (RngSeed::Random, Some(_)) => u64::from(uuid::Uuid::new_v4().as_fields().0),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let database = runtime.block_on(async {
        let database = TestDatabase::fresh().await;
        database.register_deployments(5).await;
        database
    });
    let session = RefCell::new(Some(runtime.block_on(database.connect())));
    let number = Cell::new(0_u32);
    let taken = Cell::new(0_usize);
    let cut_short = Cell::new(0_u32);
    let mut runner = TestRunner::new(Config {
        cases: asked_for.unwrap_or(150),
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 1500,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(
        &(policies(), proptest::collection::vec(step(), 1..60)),
        |(policies, steps)| {
            number.set(number.get() + 1);
            runtime.block_on(async {
                let own = session.take().expect("one rollout at a time");
                let table = format!("t{}", number.get());
                let mut real = Real::submit(own, &table, &policies)
                    .await
                    .map_err(|error| TestCaseError::fail(error.to_string()))?;
                let result = roll_out(&policies, &steps, &mut real).await;
                session.replace(Some(real.remove().await.expect("removed")));
                let (steps, is_cut_short) = result?;
                taken.set(taken.get() + steps);
                cut_short.set(cut_short.get() + u32::from(is_cut_short));
                Ok(())
            })
        },
    );
    eprintln!(
        "{} rollouts, {} of them cut short, {} steps, PROPTEST_RNG_SEED={seed}",
        number.get(),
        cut_short.get(),
        taken.get()
    );
    if let Err(TestError::Fail(reason, (policies, steps))) = &outcome {
        panic!("{reason}\n{policies:?}\n{steps:#?}");
    }
    outcome.expect("all rollouts agree");
    assert!(
        cut_short.get() * 2 <= number.get(),
        "too slow a machine: most rollouts were cut short, and show little"
    );
}

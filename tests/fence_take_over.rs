//! A driver that lost its lease changes nothing, however late it wakes up.

mod deployment;
mod support;

use deployment::{Deployment, TestLease};
use lockkeeper::engine::names::{Owner, Role};
use lockkeeper::engine::session::Sessions;
use lockkeeper::engine::state::artifact;
use lockkeeper::engine::state::fence::{Fence, SwapRecord};
use lockkeeper::engine::{Engine, ErrorKind, Job};

#[tokio::test]
async fn a_successor_ends_the_former_sessions_and_renames_their_tables() {
    let mut db = Deployment::fresh().await;
    let first = db.sessions(1);
    let mut former = first.open().await.unwrap();
    let fence = Fence::take_over(&first, &mut former, &db.schema)
        .await
        .unwrap();
    let mut other = first.open().await.unwrap();
    let shadow = db.owner(1).table(Role::Shadow(0));
    db.run(&format!(
        "CREATE TABLE `{shadow}` (id INT PRIMARY KEY); CREATE TABLE _lk_0a1b2c3d_7_1_0_new (id INT)"
    ))
    .await;
    // A statement is under way, as a chunk would be.
    let busy = tokio::spawn(async move { other.run("DO SLEEP(300)").await });

    let second = db.sessions(2);
    let mut successor = second.open().await.unwrap();
    let taken = Fence::take_over(&second, &mut successor, &db.schema)
        .await
        .unwrap();

    assert!(busy.await.unwrap().is_err());
    assert!(former.run("DO 0").await.is_err());
    taken.check(&mut successor).await.unwrap();
    let tables = db.tables().await;
    assert!(tables.contains(&db.owner(2).table(Role::Shadow(0))));
    assert!(!tables.contains(&shadow));
    // Another installation's table keeps its name.
    assert!(tables.contains("_lk_0a1b2c3d_7_1_0_new"));

    // The late driver opens a session all the same: its lease would be confirmed by a stale answer.
    let mut late = db.sessions(1).open().await.unwrap();
    assert_eq!(
        fence.check(&mut late).await.unwrap_err().kind(),
        ErrorKind::LeaseLost
    );
    let record = SwapRecord::default();
    assert_eq!(
        fence
            .write_swap(&mut late, &record)
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::LeaseLost
    );
    let again = Fence::take_over(&db.sessions(1), &mut late, &db.schema).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::LeaseLost);
}

/// SELECT on performance_schema is asked of nobody.
#[tokio::test]
async fn a_successor_with_few_rights_ends_the_former_sessions_too() {
    let mut db = Deployment::fresh().await;
    let (schema, user) = (db.schema.clone(), format!("u{}", db.installation));
    let password = db.settings.credentials.password.expose().to_owned();
    db.run(&format!(
        "CREATE USER `{user}`@`%` IDENTIFIED BY '{password}'; GRANT PROCESS ON *.* TO `{user}`@`%`; \
         GRANT ALL ON `{schema}`.* TO `{user}`@`%`"
    ))
    .await;
    let mut target = db.target();
    target.user = user;
    let sessions = |epoch| Sessions::new(target.clone(), db.owner(epoch), TestLease::held());
    let first = sessions(1);
    let mut former = first.open().await.unwrap();
    Fence::take_over(&first, &mut former, &schema)
        .await
        .unwrap();
    let busy = tokio::spawn(async move { former.run("DO SLEEP(300)").await });

    let second = sessions(2);
    let mut successor = second.open().await.unwrap();
    let taken = Fence::take_over(&second, &mut successor, &schema)
        .await
        .unwrap();
    taken.check(&mut successor).await.unwrap();
    assert!(busy.await.unwrap().is_err());
}

#[tokio::test]
async fn a_session_is_registered_before_the_lease_is_confirmed_and_closed_if_it_is_lost() {
    let db = Deployment::fresh().await;
    let lease = TestLease::held();
    let sessions = Sessions::new(db.target(), db.owner(3), lease.clone());
    let open = sessions.open().await.unwrap();
    assert!(open.name().ends_with("_3_s0"), "{}", open.name());
    lease.lose();
    assert!(matches!(sessions.open().await, Err(error) if error.kind() == ErrorKind::LeaseLost));
    let mut other = db.session(4).await;
    let held = other
        .rows(&format!(
            "SELECT CAST(IS_USED_LOCK('{}') AS CHAR)",
            open.name()
        ))
        .await
        .unwrap();
    assert_eq!(held.len(), 1);
}

#[tokio::test]
async fn taking_over_twice_is_the_same_as_once() {
    let db = Deployment::fresh().await;
    let sessions = db.sessions(5);
    let mut session = sessions.open().await.unwrap();
    for _ in 0..2 {
        let fence = Fence::take_over(&sessions, &mut session, &db.schema)
            .await
            .unwrap();
        fence.check(&mut session).await.unwrap();
    }
    // A second engine of the same epoch, after the first was dropped without an end.
    let again = db.sessions(5);
    let mut second = again.open().await.unwrap();
    Fence::take_over(&again, &mut second, &db.schema)
        .await
        .unwrap();
    assert!(session.run("DO 0").await.is_err());
}

#[tokio::test]
async fn a_fence_that_is_gone_is_a_lost_lease_and_a_read_only_server_is_waited_for() {
    let servers = support::private_servers(1).await;
    let mut db = Deployment::on(servers[0].administrator().clone()).await;
    let sessions = db.sessions(1);
    let mut session = sessions.open().await.unwrap();
    let fence = Fence::take_over(&sessions, &mut session, &db.schema)
        .await
        .unwrap();
    db.run("SET GLOBAL read_only = ON").await;
    let error = fence.check(&mut session).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable);
    db.run("SET GLOBAL read_only = OFF").await;
    fence.remove(&mut session).await.unwrap();
    let error = fence.check(&mut session).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
}

#[tokio::test]
async fn tables_are_removed_when_they_are_due_and_only_those_of_the_installation() {
    let mut db = Deployment::fresh().await;
    let sessions = db.sessions(1);
    let mut session = sessions.open().await.unwrap();
    let owner = db.owner(1);
    for (position, wait) in [(0, 0), (1, 3600)] {
        let old = owner.table(Role::Old(position));
        db.run(&format!("CREATE TABLE `{old}` (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION a VALUES LESS THAN (9), PARTITION b VALUES LESS THAN MAXVALUE)")).await;
        artifact::hold_tables(&mut session, &db.schema, &owner, "_old", wait)
            .await
            .unwrap();
    }
    db.run("CREATE TABLE _lk_0a1b2c3d_7_drop0_20200101000000 (id INT)")
        .await;
    assert_eq!(
        artifact::remove_due(&mut session, &db.installation)
            .await
            .unwrap(),
        1
    );
    let left = db.tables().await;
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().any(|name| name.contains("_drop1_")));
}

/// Its driver was killed, or somebody had the old table open when it was to be put aside.
#[tokio::test]
async fn what_a_finished_operation_has_left_is_ended_by_whoever_comes_next() {
    let mut db = Deployment::fresh().await;
    let sessions = db.sessions(1);
    let mut session = sessions.open().await.unwrap();
    let owner = db.owner(1);
    let fence = Fence::take_over(&sessions, &mut session, &db.schema)
        .await
        .unwrap();
    let old = owner.table(Role::Old(0));
    let checkpoint = owner.artifact("checkpoint");
    db.run(&format!(
        "CREATE TABLE `{old}` (id INT PRIMARY KEY); CREATE TABLE `{checkpoint}` (id INT PRIMARY KEY)"
    ))
    .await;
    let of_another = Owner {
        operation_id: 8,
        ..owner.clone()
    };
    let sessions = Sessions::new(db.target(), of_another, TestLease::held());
    let mut next = sessions.open().await.unwrap();
    let mut end = async |db: &mut Deployment| {
        artifact::remove_due(&mut next, &db.installation)
            .await
            .unwrap();
        db.tables().await
    };
    assert_eq!(end(&mut db).await.len(), 3, "it goes on");
    fence.finish(&mut session, 3600).await.unwrap();
    assert_eq!(end(&mut db).await.len(), 3, "its driver is there");
    session.close().await;
    let left = end(&mut db).await;
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().any(|name| name.contains("_drop0_")), "{left:?}");
    assert!(
        !left.contains(&old) && !left.contains(&checkpoint),
        "{left:?}"
    );
}

/// Its address was mistyped: another shard has a schema of the same name.
#[tokio::test]
async fn a_server_that_has_nothing_of_an_operation_past_its_copy_is_left_alone() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let job = Job {
        is_under_way: true,
        ..db.job(&["ALTER TABLE t MODIFY id BIGINT NOT NULL"])
    };
    let opened = Engine::open(db.target(), job.clone(), TestLease::held()).await;
    let error = opened.err().expect("it is another server");
    assert_eq!(error.kind(), ErrorKind::Retryable);
    let target = db.target();
    let address = format!("at {}:{} there is no", target.host, target.port);
    assert!(error.message().contains(&address), "{error}");
    assert_eq!(db.tables().await.into_iter().collect::<Vec<_>>(), ["t"]);
    // Any table of it tells that this is the one.
    let dropped = db.owner(1).holding(0, "20000101000000");
    db.run(&format!("CREATE TABLE `{dropped}` (id INT)")).await;
    let opened = Engine::open(db.target(), job, TestLease::held()).await;
    opened.expect("its server").close().await;
}

//! Foreign keys and a driver, or a server, that dies in the middle of handing them over: the table in
//! use has its keys at every instant, and the next driver takes away what is too much.

mod deployment;
mod driver_process;
mod family;
mod support;

use deployment::Deployment;
use driver_process::{dies_at, ends};
use family::{Families, all_keys};
use lockkeeper::engine::Outcome;

const CHANGE: &str = "ALTER TABLE child MODIFY note VARCHAR(300) NULL";

const KEYS: &str = "child.child_ibfk_1,child.child_ibfk_2,child.child_to_u,\
    twin.twin_ibfk_1,twin.twin_ibfk_2,twin.twin_to_u";

/// Not a test of its own: what the drivers of the others do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other tests"]
async fn child() {
    let options = serde_json::json!({});
    driver_process::child(&[CHANGE], options, async |engine, _, epoch| {
        if epoch == 1 {
            assert_eq!(engine.copy().await?, Outcome::Verified);
        }
        engine.cut_over().await?;
        engine.finish().await
    })
    .await;
}

async fn is_killed_at(db: &mut Deployment, epoch: u64, step: &str) {
    dies_at(db, epoch, step).await;
    assert_eq!(guarded(db).await, "3", "{step}");
}

/// How many keys the table in use has, whatever their names.
async fn guarded(db: &mut Deployment) -> String {
    db.text(
        "SELECT COUNT(*) FROM information_schema.REFERENTIAL_CONSTRAINTS \
          WHERE CONSTRAINT_SCHEMA = DATABASE() AND TABLE_NAME = 'child'",
    )
    .await
}

/// The keys of one of our tables, as a swap that was cut short leaves them on it.
fn left_on(table: &str, from: &str) -> String {
    format!(
        "SET SESSION foreign_key_checks = 0; ALTER TABLE {table} \
           ADD CONSTRAINT {table}_ibfk_1 FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE, \
           ADD CONSTRAINT {from} FOREIGN KEY (q) REFERENCES parent (u) ON DELETE SET NULL ON UPDATE CASCADE, \
           ADD CONSTRAINT {table}_ibfk_2 FOREIGN KEY (r) REFERENCES parent (id); \
         SET SESSION foreign_key_checks = 1"
    )
}

async fn ended_well(db: &mut Deployment, families: Families) {
    families.stop().await;
    assert_eq!(all_keys(db).await, KEYS);
    family::compare(db).await;
    family::is_enforced(db).await;
    assert_eq!(db.column_type("child", "note").await, "varchar(300)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_killed_around_the_handover_leaves_a_table_with_its_keys() {
    // Each driver of a list goes on from where the one before died.
    let lists: [&[&str]; 2] = [
        &[
            "plan.create_shadow.after 2",
            "cutover.lock.after",
            "cutover.rename.before",
            "cutover.rename.after",
        ],
        &[
            "cutover.drain.after",
            "cutover.rename.after",
            "artifact.hold.after",
        ],
    ];
    for list in lists {
        let mut db = Deployment::fresh().await;
        family::create(&mut db).await;
        let families = Families::start(&db, 2).await;
        let mut epochs = 1..;
        for (step, epoch) in list.iter().zip(&mut epochs) {
            is_killed_at(&mut db, epoch, step).await;
        }
        ends(&db, epochs.start).await;
        ended_well(&mut db, families).await;
    }
}

/// The server died after the copy had got its keys and before the RENAME.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_left_on_the_copy_are_taken_away_by_the_next_driver() {
    let mut db = Deployment::fresh().await;
    family::create(&mut db).await;
    is_killed_at(&mut db, 1, "cutover.rename.before").await;
    let copy = format!("_lk_{}_7_1_0_new", db.installation);
    db.run(&left_on(&copy, &format!("{copy}_fk_2"))).await;
    for (epoch, step) in [(2, "keys.drop.before"), (3, "keys.drop.after")] {
        is_killed_at(&mut db, epoch, step).await;
    }
    assert_eq!(all_keys(&mut db).await, KEYS);
    let families = Families::start(&db, 2).await;
    ends(&db, 4).await;
    ended_well(&mut db, families).await;
}

/// The server died after the RENAME and before the old table had lost its keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_left_on_the_old_table_and_interim_names_are_put_right() {
    let mut db = Deployment::fresh().await;
    family::create(&mut db).await;
    is_killed_at(&mut db, 1, "cutover.rename.after").await;
    assert_eq!(
        all_keys(&mut db).await,
        KEYS,
        "the server went to the end alone"
    );
    let old = format!("_lk_{}_7_1_0_old", db.installation);
    let interim = format!("_lk_{}_7_1_0_new_fk_2", db.installation);
    db.run(&format!(
        "SET SESSION foreign_key_checks = 0; ALTER TABLE child DROP FOREIGN KEY child_to_u, \
         ADD CONSTRAINT {interim} FOREIGN KEY (q) REFERENCES parent (u) ON DELETE SET NULL ON UPDATE CASCADE"
    ))
    .await;
    db.run(&left_on(&old, "child_to_u")).await;
    for (epoch, step) in [
        (2, "keys.drop.before"),
        (3, "keys.drop.after"),
        (4, "keys.name.before"),
        (5, "keys.name.after"),
    ] {
        is_killed_at(&mut db, epoch, step).await;
    }
    assert_eq!(all_keys(&mut db).await, KEYS);
    let families = Families::start(&db, 2).await;
    ends(&db, 6).await;
    ended_well(&mut db, families).await;
}

//! The same bits everywhere: what a seed gives is written down here.

use farm_sim::episode::{Episode, Outcome};
use farm_sim::random::{Cause, random_for};
use farm_sim::scenario::{SCENARIO_NAMES, Scenario};
use proptest::prelude::*;
use rand::RngExt;

use crate::arbitrary;

/// FNV-1a over 64-bit words.
fn hash(words: impl Iterator<Item = u64>) -> u64 {
    words
        .flat_map(u64::to_le_bytes)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

fn hash_of_stream(scenario: &Scenario, seed: u64) -> u64 {
    let stream = scenario.workload.stream(seed);
    let starts = stream.phase_starts.into_iter();
    let tasks = stream.tasks.into_iter();
    hash(starts.chain(tasks.flat_map(|task| [task.arrival, task.service, task.deadline])))
}

/// A run with random steps, as every number of its last observation and its outcome.
fn hash_of_run(scenario: &Scenario, seed: u64) -> u64 {
    let mut episode = Episode::new(scenario, seed).unwrap();
    let mut random = random_for(seed, Cause::Exploration);
    let mut words = Vec::new();
    while episode.end().is_none() {
        let present = episode.observation().parallelism;
        episode.step((present + random.random_range(0..3)).saturating_sub(1));
        words.extend(episode.observation().paper_view().map(f64::to_bits));
    }
    let Outcome {
        met,
        worker_seconds,
        ..
    } = episode.outcome();
    hash(words.into_iter().chain([met, worker_seconds.to_bits()]))
}

#[test]
fn seeds_give_what_they_always_gave() {
    let golden = [
        ("paper", 0xd2d82a7dd2f07b55, 0x9c067758d1a135e6),
        ("paper-shuffled", 0x08fe2c6939e19be8, 0xb66bc67b78cb2843),
        ("paper-fast", 0x08fe2c6939e19be8, 0x236d8f97885f0c26),
        ("phases", 0xfddc6ae31d674753, 0x3244ddc7b3341a82),
        ("poisson", 0xba13d04fa9932e04, 0x2e4f6d0d9849c93a),
        ("sine", 0x945dca206aef10e1, 0xb691748bb19ff4a4),
        ("ramp", 0xa8d5dccab1bd8adc, 0xaac58213c961b92a),
        ("bursts", 0x4bf82d8b71ee9eaf, 0xfbb1d3f54bf4b522),
        ("heavy", 0x473baa891e2fbefd, 0xf038c1ec91182fe8),
        ("departures", 0x7c5365013044afed, 0xae3789b34772ba16),
    ];
    let found: Vec<(&str, u64, u64)> = SCENARIO_NAMES
        .into_iter()
        .map(|name| {
            let scenario = Scenario::named(name).unwrap();
            (
                name,
                hash_of_stream(&scenario, 42),
                hash_of_run(&scenario, 42),
            )
        })
        .collect();
    let list: Vec<String> = found
        .iter()
        .map(|(name, stream, run)| format!("(\"{name}\", {stream:#018x}, {run:#018x}),"))
        .collect();
    // A change of the model or of the draws changes these: say so in the change log.
    assert_eq!(found, golden, "\n{}", list.join("\n"));
}

#[test]
fn the_first_tasks_of_seed_42_are_these() {
    let stream = Scenario::paper().workload.stream(42);
    let first: Vec<(u64, u64)> = stream.tasks[..3]
        .iter()
        .map(|task| (task.arrival, task.service))
        .collect();
    assert_eq!(
        first,
        [
            (0, 2_870_500_000),
            (129_639_421, 1_081_529_557),
            (5_291_441_251, 1_199_471_286)
        ]
    );
}

#[test]
fn threads_change_nothing() {
    let scenario = Scenario::named("paper-shuffled").unwrap();
    let alone: Vec<u64> = (0..16).map(|seed| hash_of_run(&scenario, seed)).collect();
    let four: Vec<u64> = std::thread::scope(|scope| {
        let scenario = &scenario;
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let seeds = 4 * thread..4 * thread + 4;
                let run = move || seeds.map(|seed| hash_of_run(scenario, seed)).collect();
                scope.spawn(run)
            })
            .collect();
        let hashes = threads.into_iter();
        hashes
            .flat_map(|thread: std::thread::ScopedJoinHandle<'_, Vec<u64>>| thread.join().unwrap())
            .collect()
    });
    assert_eq!(alone, four);
}

#[test]
fn an_episode_that_was_used_before_is_as_good_as_new() {
    for name in SCENARIO_NAMES {
        let scenario = Scenario::named(name).unwrap();
        let run = |episode: &mut Episode| {
            let mut asked = 12;
            while episode.end().is_none() {
                asked = if asked > 15 { 9 } else { asked + 1 };
                episode.step(asked);
            }
            episode.outcome()
        };
        let mut used = Episode::new(&scenario, 1).unwrap();
        run(&mut used);
        used.reset(2);
        let mut fresh = Episode::new(&scenario, 2).unwrap();
        assert_eq!(run(&mut used), run(&mut fresh), "{name}");
    }
}

#[test]
fn policies_meet_the_same_chances() {
    let scenario = Scenario::paper();
    let lengths = |asked: [u32; 4]| {
        let mut episode = Episode::new(&scenario, 5).unwrap();
        let times = asked.map(|asked| {
            episode.step(asked);
            episode.observation().time_seconds
        });
        [
            times[0],
            times[1] - times[0],
            times[2] - times[1],
            times[3] - times[2],
        ]
    };
    let (steady, moved) = (lengths([12; 4]), lengths([11, 10, 9, 9]));
    for (steady, moved) in steady.into_iter().zip(moved) {
        assert!((steady - moved).abs() < 1e-9, "{steady} is not {moved}");
    }
}

proptest! {
    #![proptest_config(crate::cases(100))]

    #[test]
    fn a_scenario_survives_its_file(scenario in arbitrary::scenario().boxed()) {
        let json = serde_json::to_string(&scenario).unwrap();
        let read: Scenario = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(read, scenario);
    }
}

#[test]
fn the_example_file_is_a_scenario() {
    let text = include_str!("../../scenarios/example.json");
    let scenario: Scenario = serde_json::from_str(text).unwrap();
    assert_eq!(scenario.check(), Ok(()));
    let mut episode = Episode::new(&scenario, 1).unwrap();
    while episode.end().is_none() {
        episode.step(12);
    }
    assert!(episode.outcome().submitted > 100);
}

#[test]
fn a_file_with_a_wrong_name_or_a_wrong_recording_is_refused() {
    let paper = serde_json::to_string(&Scenario::paper()).unwrap();
    let wrong = paper.replace("\"poll_seconds\"", "\"pol_seconds\"");
    let cause = serde_json::from_str::<Scenario>(&wrong).unwrap_err();
    assert!(cause.to_string().contains("pol_seconds"), "{cause}");
    for columns in [
        r#"{"arrival_seconds": [1.0, 0.5]}"#,
        r#"{"arrival_seconds": [-1.0]}"#,
        r#"{"arrival_seconds": [1.0], "service_seconds": []}"#,
        r#"{"arrival_seconds": [1.0], "service_seconds": [1e9]}"#,
    ] {
        let recording = serde_json::from_str::<farm_sim::workload::Recording>(columns);
        assert!(recording.is_err(), "{columns}");
    }
}

//! Planted violations: each must be found, and nothing else.

use super::*;
use crate::chaos::schedule::Kind;

const SEED: u64 = 1;
const TASKS: u64 = 400;

fn rules() -> Rules {
    Rules {
        seed: SEED,
        max_deliveries: 60,
        max_attempts: 20,
    }
}

fn submit(submit: u64, entry: Entry, first: u64, tasks: u64) -> Submit {
    Submit {
        submit,
        entry,
        first,
        tasks,
    }
}

fn event(at_seconds: f64, what: What) -> Event {
    Event { at_seconds, what }
}

fn outcome(job: &str, key: String, sequence: u64, number: u64) -> OutcomeRead {
    let fate = Fate::of(SEED, number);
    let attempt = match fate {
        Fate::FailsFirst(failures) => failures + 1,
        Fate::KillsOnce => 2,
        _ => 1,
    };
    OutcomeRead {
        job: job.to_owned(),
        key,
        cursor: sequence,
        stored_seconds: 100.0 + sequence as f64 / 1000.0,
        done: fate.succeeds(),
        attempt,
        worker: "worker-0".to_owned(),
        number: fate.succeeds().then_some(number),
    }
}

/// A job over HTTP and one over NATS, both as they should be.
fn clean() -> (Vec<Event>, Reads) {
    let array = submit(0, Entry::Array, 0, TASKS);
    let raw = submit(1, Entry::Raw, TASKS, 2);
    let accepted = |submit: u64, job: &str, accepted| What::Accepted {
        submit,
        job: job.to_owned(),
        accepted,
    };
    let events = vec![
        event(100.0, What::Invoked { submit: array }),
        event(100.1, accepted(0, "a", TASKS)),
        event(100.2, What::Invoked { submit: raw }),
        event(
            100.3,
            What::FaultBegin {
                fault: 0,
                kind: Kind::KillWorker,
                target: "worker-0".to_owned(),
            },
        ),
        event(100.3, What::FaultEnd { fault: 0 }),
        event(100.4, accepted(1, "r", 2)),
    ];
    let mut reads = Reads::default();
    for number in 0..TASKS {
        let read = outcome("a", number.to_string(), number + 1, number);
        if !read.done {
            reads.letters.push(LetterRead {
                job: read.job.clone(),
                key: read.key.clone(),
                number: Some(number),
                attempt: 1,
                cause: "told to".to_owned(),
            });
        }
        reads.outcomes.push(read);
    }
    for number in TASKS..TASKS + 2 {
        reads
            .outcomes
            .push(outcome("r", tag(number), number + 1, number));
    }
    let failed = reads.letters.len() as u64;
    let account = |state, accepted, done, failed| AccountRead {
        state,
        accepted,
        done,
        failed,
        cancelled: 0,
        in_flight: 0,
    };
    let array = account(JobState::Done, Some(TASKS), TASKS - failed, failed);
    reads.accounts.insert("a".to_owned(), array);
    reads
        .accounts
        .insert("r".to_owned(), account(JobState::Open, None, 2, 0));
    (events, reads)
}

/// What is found after `plant`, with the first story.
fn found(plant: impl FnOnce(&mut Vec<Event>, &mut Reads)) -> (Vec<Broken>, String) {
    let (mut events, mut reads) = clean();
    plant(&mut events, &mut reads);
    let violations = check(&events, &reads, &rules()).violations;
    let story = violations
        .first()
        .map(|violation| violation.story.join("\n"));
    let broken = violations.iter().map(|violation| violation.broken);
    (broken.collect(), story.unwrap_or_default())
}

/// A task that has a result.
fn done(reads: &Reads) -> usize {
    let index = reads.outcomes.iter().position(|outcome| outcome.done);
    index.expect("some succeed")
}

#[test]
fn a_clean_record_is_clean() {
    let (events, reads) = clean();
    assert!(!reads.letters.is_empty(), "some fail");
    let verdict = check(&events, &reads, &rules());
    assert_eq!(verdict.violations, []);
    let acknowledged: u64 = verdict.tally.acknowledged.values().sum();
    assert_eq!(acknowledged, TASKS + 2);
    assert_eq!(verdict.tally.done + verdict.tally.failed, TASKS + 2);
}

#[test]
fn a_lost_result_is_found_and_explained() {
    let (broken, story) = found(|_, reads| {
        reads.outcomes.pop();
        if let Some(account) = reads.accounts.get_mut("r") {
            account.done = 1;
        }
    });
    assert_eq!(broken, [Broken::Lost]);
    for words in ["invoked", "accepted", "kill-worker"] {
        assert!(story.contains(words), "{words} in:\n{story}");
    }
    assert!(!story.contains("\"submit\":0"), "another's:\n{story}");
}

#[test]
fn a_second_result_is_found() {
    let (broken, _) = found(|_, reads| {
        let mut second = reads.outcomes[done(reads)].clone();
        second.cursor = 9_000;
        reads.outcomes.push(second);
        if let Some(account) = reads.accounts.get_mut("a") {
            account.done += 1;
        }
    });
    assert_eq!(broken, [Broken::SecondOutcome]);
}

#[test]
fn a_foreign_tag_is_found() {
    let (broken, _) = found(|_, reads| {
        let index = done(reads);
        reads.outcomes[index].number = Some(TASKS);
    });
    assert_eq!(broken, [Broken::ForeignTag]);
}

#[test]
fn a_phantom_is_found() {
    let (broken, _) = found(|_, reads| {
        reads
            .outcomes
            .push(outcome("nobody's", "0".to_owned(), 9_000, 70_000));
    });
    assert_eq!(broken, [Broken::Phantom]);
    let (broken, _) = found(|_, reads| {
        reads
            .outcomes
            .push(outcome("r", "0".to_owned(), 9_000, TASKS));
        if let Some(account) = reads.accounts.get_mut("r") {
            account.done += 1;
        }
    });
    assert_eq!(broken, [Broken::Phantom]);
}

#[test]
fn a_task_that_ran_in_two_jobs_is_found_unless_one_is_cancelled() {
    let twice = |reads: &mut Reads| {
        let mut second = reads.outcomes[done(reads)].clone();
        second.job = "other".to_owned();
        reads.outcomes.push(second);
    };
    assert_eq!(found(|_, reads| twice(reads)).0, [Broken::Phantom]);
    let (broken, _) = found(|_, reads| {
        twice(reads);
        reads.cancelled.insert("other".to_owned());
    });
    assert_eq!(broken, []);
}

#[test]
fn an_unanswered_submit_may_run_once_and_not_twice() {
    let unanswered = |events: &mut Vec<Event>| {
        let submit = submit(2, Entry::Single, TASKS + 2, 1);
        events.push(event(101.0, What::Invoked { submit }));
        let reason = "no answer".to_owned();
        events.push(event(102.0, What::Unknown { submit: 2, reason }));
    };
    let ran = |reads: &mut Reads, job: &str| {
        reads
            .outcomes
            .push(outcome(job, "0".to_owned(), 9_000, TASKS + 2));
    };
    let (broken, _) = found(|events, reads| {
        unanswered(events);
        ran(reads, "u");
    });
    assert_eq!(broken, []);
    let (broken, _) = found(|events, reads| {
        unanswered(events);
        ran(reads, "u");
        ran(reads, "v");
    });
    assert_eq!(broken, [Broken::SecondOutcome]);
}

#[test]
fn a_missing_dead_letter_is_found() {
    let (broken, _) = found(|_, reads| {
        reads.letters.pop();
    });
    assert_eq!(broken, [Broken::MissingLetter]);
}

#[test]
fn a_stray_dead_letter_is_found() {
    let (broken, _) = found(|_, reads| {
        let mut stray = reads.letters[0].clone();
        stray.key = reads.outcomes[done(reads)].key.clone();
        reads.letters.push(stray);
    });
    assert_eq!(broken, [Broken::StrayLetter]);
}

#[test]
fn a_wrong_account_is_found() {
    let (broken, _) = found(|_, reads| {
        if let Some(account) = reads.accounts.get_mut("a") {
            (account.done, account.in_flight) = (account.done - 1, 1);
        }
    });
    assert_eq!(broken, [Broken::Account]);
    let (broken, _) = found(|_, reads| {
        reads.accounts.remove("a");
    });
    assert_eq!(broken, [Broken::Account]);
}

#[test]
fn a_task_given_up_too_early_is_found() {
    let (broken, _) = found(|_, reads| {
        let index = done(reads);
        let read = &mut reads.outcomes[index];
        (read.done, read.number) = (false, None);
        reads.letters.push(LetterRead {
            job: read.job.clone(),
            key: read.key.clone(),
            number: read.key.parse().ok(),
            attempt: 2,
            cause: "gave up".to_owned(),
        });
        if let Some(account) = reads.accounts.get_mut("a") {
            (account.done, account.failed) = (account.done - 1, account.failed + 1);
        }
    });
    assert_eq!(broken, [Broken::WrongOutcome]);
}

#[test]
fn attempts_out_of_bounds_are_found() {
    let (broken, _) = found(|_, reads| {
        let index = done(reads);
        reads.outcomes[index].attempt = 81;
    });
    assert_eq!(broken, [Broken::Attempts]);
}

#[test]
fn a_key_that_became_two_jobs_is_found() {
    let (broken, _) = found(|events, _| {
        let accepted = What::Accepted {
            submit: 0,
            job: "b".to_owned(),
            accepted: TASKS,
        };
        events.push(event(103.0, accepted));
    });
    assert_eq!(broken, [Broken::SecondJob]);
}

#[test]
fn cursors_out_of_order_and_missing_outcomes_are_found() {
    let followed = |cursors: &[u64]| {
        let cursors = cursors.to_vec();
        found(|events, _| {
            let what = What::Followed {
                job: "r".to_owned(),
                cursors,
                complete: true,
            };
            events.push(event(104.0, what));
        })
        .0
    };
    assert_eq!(followed(&[TASKS + 1, TASKS + 2]), []);
    assert_eq!(followed(&[TASKS + 2, TASKS + 1]), [Broken::Order]);
    assert_eq!(followed(&[TASKS + 1]), [Broken::Order]);
    assert_eq!(followed(&[TASKS + 1, 5_000]), [Broken::Order]);
}

#[test]
fn tasks_left_in_the_queue_are_found() {
    let (broken, _) = found(|_, reads| reads.tasks_left = 3);
    assert_eq!(broken, [Broken::Unsettled]);
}

#[test]
fn a_cancelled_job_may_leave_tasks_without_an_end_if_somebody_asked_for_it() {
    let cancelled = |asked: bool| {
        found(|events, reads| {
            reads.outcomes.pop();
            reads.cancelled.insert("a".to_owned());
            let index = done(reads);
            reads.outcomes.remove(index);
            if let Some(account) = reads.accounts.get_mut("a") {
                account.state = JobState::Cancelled;
                (account.done, account.cancelled) = (account.done - 1, 1);
            }
            if asked {
                events.push(event(
                    100.2,
                    What::CancelAsked {
                        job: "a".to_owned(),
                    },
                ));
            }
            // The other job is not what this is about.
            events.retain(|event| event.what.submit() != Some(1));
            reads.outcomes.retain(|outcome| outcome.job == "a");
        })
        .0
    };
    assert_eq!(cancelled(true), []);
    let without = cancelled(false);
    assert!(without.contains(&Broken::Lost), "{without:?}");
}

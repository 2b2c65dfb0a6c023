//! Eight trainings of the same kind, each evaluated on seeds that none was trained or chosen on.
//!
//! ```sh
//! cargo run --release -p farm-train --example eight_trainings -- sarsa|dqn [step|free] [scenario]
//! ```
//!
//! One training says little: the next seed may do worse. What is claimed of an algorithm is
//! claimed of the median that this prints.

use std::error::Error;
use std::ops::ControlFlow;
use std::time::Instant;

use farm_policy::learned::Actions;
use farm_sim::scenario::Scenario;
use farm_train::course::{CurvePoint, EVALUATION_SEEDS, Score};
use farm_train::dqn::{self, DqnSettings};
use farm_train::sarsa::{self, SarsaSettings};

const TRAININGS: u64 = 8;

/// One training, on seeds that it never saw.
struct Row {
    score: Score,
    seconds: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |index: usize, usual: &'static str| words.get(index).map_or(usual, String::as_str);
    let actions = match word(1, "step") {
        "step" => Actions::Step,
        "free" => Actions::Free,
        other => return Err(format!("actions {other:?} are neither step nor free").into()),
    };
    let scenario = Scenario::named(word(2, "paper")).ok_or("no scenario has this name")?;
    let train = match word(0, "sarsa") {
        "sarsa" => train_sarsa,
        "dqn" => train_dqn,
        other => return Err(format!("algorithm {other:?} is neither sarsa nor dqn").into()),
    };

    println!("seed    QoS %    std   workers  actions  seconds");
    let mut rows = Vec::new();
    for seed in 1..=TRAININGS {
        let row = train(&scenario, actions, seed)?;
        print_row(&seed.to_string(), &row);
        rows.push(row);
    }
    print_row("median", &median(&rows));
    Ok(())
}

fn train_sarsa(scenario: &Scenario, actions: Actions, seed: u64) -> Result<Row, Box<dyn Error>> {
    let course = sarsa::course(scenario.clone(), actions);
    let began = Instant::now();
    let trained = sarsa::train(&course, &SarsaSettings::default(), seed, &mut go_on)?;
    let seconds = began.elapsed().as_secs_f64();
    let score = course.score(EVALUATION_SEEDS, sarsa::greedy(&trained.table))?;
    Ok(Row { score, seconds })
}

fn train_dqn(scenario: &Scenario, actions: Actions, seed: u64) -> Result<Row, Box<dyn Error>> {
    let course = dqn::course(scenario.clone(), actions);
    let began = Instant::now();
    let trained = dqn::train(&course, &DqnSettings::default(), seed, &mut go_on)?;
    let seconds = began.elapsed().as_secs_f64();
    let score = course.score(EVALUATION_SEEDS, trained.greedy())?;
    Ok(Row { score, seconds })
}

fn go_on(_: &CurvePoint) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The median of each column.
fn median(rows: &[Row]) -> Row {
    let column = |number: fn(&Row) -> f64| {
        let mut numbers: Vec<f64> = rows.iter().map(number).collect();
        numbers.sort_by(f64::total_cmp);
        let middle = numbers.len() / 2;
        (numbers[middle] + numbers[(numbers.len() - 1) / 2]) / 2.0
    };
    Row {
        score: Score {
            qos_ratio: column(|row| row.score.qos_ratio),
            qos_ratio_sd: column(|row| row.score.qos_ratio_sd),
            parallelism: column(|row| row.score.parallelism),
            scaling_actions: column(|row| row.score.scaling_actions),
            reward: column(|row| row.score.reward),
        },
        seconds: column(|row| row.seconds),
    }
}

fn print_row(name: &str, row: &Row) {
    let Score {
        qos_ratio,
        qos_ratio_sd,
        parallelism,
        scaling_actions,
        ..
    } = row.score;
    let (qos, sd) = (100.0 * qos_ratio, 100.0 * qos_ratio_sd);
    let seconds = row.seconds;
    println!(
        "{name:6} {qos:6.3} {sd:6.3}   {parallelism:7.3}  {scaling_actions:7.1}  {seconds:7.1}"
    );
}

//! Tables of action values: what SARSA learns.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use serde::{Deserialize, Serialize};

use super::artefact::check_size;
use super::grid::Grid;
use super::{ArtefactError, Contract, Training};

/// What a table's file calls itself.
const FORMAT: &str = "rust-farm policy table";
const VERSION: u32 = 1;
/// With more states than this, visited ones are found by hashing instead of by their number.
const MAX_INDEXED_STATES: u64 = 1 << 22;

/// A value for every action in every state that was visited.
///
/// Each feature is divided into bins by its edges: a number falls in the bin whose index is the
/// count of edges that are not above it. A state is one combination of bins, numbered in mixed
/// radix, the first feature changing slowest. The best action is the one of the highest value; of
/// equal ones the last, as the paper breaks ties towards one worker more.
///
/// # File
///
/// ```json
/// {
///   "format": "rust-farm policy table",
///   "version": 1,
///   "contract": {"...": "see Contract"},
///   "edges": [[1, 10, 100], []],
///   "states": [[0, [0.5, 1.25, 0.75]], [3, [0, 0, 2]]]
/// }
/// ```
///
/// `edges` has one ascending list per feature of the contract, `states` one
/// `[number, values]` per visited state, in ascending order, with one value per action.
///
/// ```
/// use farm_policy::learned::{ActionSpace, Contract, Sense, Table};
/// let contract = Contract {
///     features: Contract::features(&[Sense::TaskQueue, Sense::Workers], 32),
///     ..Contract::paper(ActionSpace::unit_steps())
/// };
/// let mut table = Table::new(contract, vec![vec![1.0, 10.0], vec![8.0]]);
/// assert_eq!(table.states(), 6);
///
/// let crowded = table.state(&[25.0, 4.0]);
/// assert_eq!((crowded, table.best(crowded)), (4, None));
/// table.values_mut(crowded)[2] = 1.0;
/// assert_eq!(table.best(crowded), Some(2));
///
/// let json = table.to_json();
/// assert_eq!(Table::from_json(json.as_bytes())?, table);
/// # Ok::<(), farm_policy::learned::ArtefactError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Table {
    contract: Contract,
    grid: Grid,
    rows: Rows,
}

impl Table {
    /// A table in which no state was visited yet.
    ///
    /// Every feature has as many edges as it needs, in any order. Edges that divide nothing are
    /// dropped: those that are not finite, doubles, lists beyond the features, and lists with
    /// which the states could no longer be numbered by a `u64`. A feature without edges is not
    /// looked at. [`edges`](Self::edges) are those that are kept.
    pub fn new(contract: Contract, edges: Vec<Vec<f64>>) -> Self {
        let grid = Grid::new(edges, contract.features.len());
        let rows = Rows::new(grid.states(), contract.actions.len());
        Self {
            contract,
            grid,
            rows,
        }
    }

    /// What it was trained on.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// What it was trained on, to be completed.
    pub fn training_mut(&mut self) -> &mut Training {
        &mut self.contract.training
    }

    /// The edges of each feature's bins, ascending.
    pub fn edges(&self) -> &[Vec<f64>] {
        self.grid.edges()
    }

    /// Number of states, visited or not.
    pub fn states(&self) -> u64 {
        self.grid.states()
    }

    /// Number of states that were visited.
    pub fn visited(&self) -> usize {
        self.rows.states.len()
    }

    /// The state that `input` falls in, always less than [`states`](Self::states). A number that
    /// is missing or NaN falls in its feature's lowest bin.
    pub fn state(&self, input: &[f64]) -> u64 {
        self.grid.state(input)
    }

    /// The values of a state's actions; `None` if it was never visited.
    pub fn values(&self, state: u64) -> Option<&[f64]> {
        self.rows.get(state)
    }

    /// The values of a state's actions, zeros if this is the first visit. Past the last state it is
    /// the last one that is visited.
    pub fn values_mut(&mut self, state: u64) -> &mut [f64] {
        self.rows.get_or_insert(state.min(self.grid.states() - 1))
    }

    /// The action of the highest value, of equal ones the last; `None` if the state was never
    /// visited.
    pub fn best(&self, state: u64) -> Option<usize> {
        best(self.values(state)?)
    }

    /// The state that decides for `state`: itself if it was visited, else the nearest visited one
    /// that differs from it in one feature, counted in bins. Of equally near ones the later feature
    /// goes first, and of one feature the higher bin. `None` if there is no such state.
    pub fn nearest(&self, state: u64) -> Option<u64> {
        let visited = |state: &u64| self.rows.get(*state).is_some();
        if visited(&state) {
            return Some(state);
        }
        self.grid.neighbours(state).find(visited)
    }

    /// Reads a table's file.
    ///
    /// # Errors
    /// [`ArtefactError`] if it is too large, no JSON, another format or version, or if its parts
    /// do not fit each other.
    pub fn from_json(json: &[u8]) -> Result<Self, ArtefactError> {
        check_size(json)?;
        parse::<Header>(json)?.check()?;
        let file: File = parse(json)?;
        file.contract.check().map_err(ArtefactError::Contract)?;
        let mut table = Self::new(file.contract, file.edges.clone());
        table.check_edges(&file.edges)?;
        table.fill(&file.states)?;
        Ok(table)
    }

    /// The table's file; equal tables give equal files.
    pub fn to_json(&self) -> String {
        let mut states: Vec<(u64, &[f64])> = self.rows.iter().collect();
        states.sort_unstable_by_key(|(state, _)| *state);
        let file = FileView {
            format: FORMAT,
            version: VERSION,
            contract: &self.contract,
            edges: self.grid.edges(),
            states,
        };
        // Strings, numbers and lists of them: nothing that JSON could not hold.
        serde_json::to_string(&file).unwrap_or_default()
    }

    fn check_edges(&self, given: &[Vec<f64>]) -> Result<(), ArtefactError> {
        let features = &self.contract.features;
        if given.len() != features.len() {
            let (lists, features) = (given.len(), features.len());
            let cause = format!("{lists} lists for {features} features");
            return Err(ArtefactError::Edges(cause));
        }
        let differs = self.edges().iter().zip(given).position(|(a, b)| a != b);
        let Some(index) = differs else {
            return Ok(());
        };
        let name = features[index].sense;
        let cause =
            format!("those of {name} are not ascending finite numbers, or make too many states");
        Err(ArtefactError::Edges(cause))
    }

    fn fill(&mut self, given: &[(u64, Vec<f64>)]) -> Result<(), ArtefactError> {
        let (states, actions) = (self.states(), self.contract.actions.len());
        let mut last = None;
        for (state, values) in given {
            let refuse = |cause: String| Err(ArtefactError::States(cause));
            if *state >= states {
                return refuse(format!(
                    "{state} is not below the {states} that the edges make"
                ));
            }
            if last.is_some_and(|last| *state <= last) {
                return refuse(format!("{state} is out of order"));
            }
            if values.len() != actions {
                let found = values.len();
                return refuse(format!("{state} has {found} values for {actions} actions"));
            }
            last = Some(*state);
            self.values_mut(*state).copy_from_slice(values);
        }
        Ok(())
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.contract == other.contract
            && self.grid == other.grid
            && self.visited() == other.visited()
            && (self.rows.iter()).all(|(state, values)| other.values(state) == Some(values))
    }
}

/// Index of the highest value, of equal ones the last.
fn best(values: &[f64]) -> Option<usize> {
    let indexed = values.iter().enumerate();
    indexed
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(index, _)| index)
}

/// What tells a file's kind before the rest of it is believed.
#[derive(Deserialize)]
struct Header {
    format: String,
    version: u32,
    contract: super::contract::Versioned,
}

impl Header {
    fn check(&self) -> Result<(), ArtefactError> {
        if self.format != FORMAT {
            return Err(ArtefactError::Format {
                found: self.format.clone(),
                expected: FORMAT,
            });
        }
        if self.version != VERSION {
            return Err(ArtefactError::Version {
                what: "the table",
                found: self.version,
                expected: VERSION,
            });
        }
        self.contract.check()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "format")]
    _format: String,
    #[serde(rename = "version")]
    _version: u32,
    contract: Contract,
    edges: Vec<Vec<f64>>,
    states: Vec<(u64, Vec<f64>)>,
}

#[derive(Serialize)]
struct FileView<'a> {
    format: &'a str,
    version: u32,
    contract: &'a Contract,
    edges: &'a [Vec<f64>],
    states: Vec<(u64, &'a [f64])>,
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, ArtefactError> {
    serde_json::from_slice(json).map_err(|error| ArtefactError::Malformed {
        what: "the table",
        cause: error.to_string(),
    })
}

/// The values of visited states, one after the other, and where each state's are.
#[derive(Debug, Clone)]
struct Rows {
    actions: usize,
    /// The visited states in the order of their first visit.
    states: Vec<u64>,
    values: Vec<f64>,
    places: Places,
}

/// Where a state's row is, counted from 1; 0 if it has none.
#[derive(Debug, Clone)]
enum Places {
    Indexed(Vec<u32>),
    Hashed(HashMap<u64, u32, BuildHasherDefault<StateHasher>>),
}

impl Rows {
    fn new(states: u64, actions: usize) -> Self {
        let places = if states <= MAX_INDEXED_STATES {
            Places::Indexed(vec![0; states as usize])
        } else {
            Places::Hashed(HashMap::default())
        };
        Self {
            actions,
            states: Vec::new(),
            values: Vec::new(),
            places,
        }
    }

    fn get(&self, state: u64) -> Option<&[f64]> {
        let place = match &self.places {
            Places::Indexed(places) => *places.get(state as usize)?,
            Places::Hashed(places) => *places.get(&state)?,
        };
        let end = place as usize * self.actions;
        self.values.get(end.checked_sub(self.actions)?..end)
    }

    fn get_or_insert(&mut self, state: u64) -> &mut [f64] {
        let next = self.states.len() as u32 + 1;
        let place = match &mut self.places {
            Places::Indexed(places) => &mut places[state as usize],
            Places::Hashed(places) => places.entry(state).or_default(),
        };
        if *place == 0 {
            *place = next;
            self.states.push(state);
            self.values.resize(self.values.len() + self.actions, 0.0);
        }
        let end = *place as usize * self.actions;
        &mut self.values[end - self.actions..end]
    }

    fn iter(&self) -> impl Iterator<Item = (u64, &[f64])> {
        let rows = self.values.chunks_exact(self.actions.max(1));
        self.states.iter().copied().zip(rows)
    }
}

/// Spreads numbers of states; the standard hasher withstands attackers, whom a table has not.
#[derive(Debug, Clone, Default)]
struct StateHasher(u64);

impl Hasher for StateHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio (Knuth's multiplicative hashing).
        let product = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = product ^ (product >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

//! Rows of figures, judged against their targets.

use std::path::Path;

use serde::Serialize;

/// One figure.
#[derive(Debug)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it must be, if it is judged.
    pub target: Option<Target>,
    /// The figures it comes from.
    pub details: String,
}

/// A bound on a figure.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Not less.
    AtLeast(f64),
    /// Not more.
    AtMost(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, ">= {bound}"),
            Self::AtMost(bound) => write!(f, "<= {bound}"),
        }
    }
}

impl Row {
    /// Whether the target is met, if there is one. A figure that is no number meets none.
    fn is_met(&self) -> Option<bool> {
        self.target.map(|target| target.is_met(self.value))
    }

    /// Prints the row as one line of the table.
    pub fn print(&self) {
        let Self { what, value, unit, details, .. } = self;
        let target = self.target.map(|target| target.to_string()).unwrap_or_default();
        let verdict = match self.is_met() {
            None => "",
            Some(true) => "ok",
            Some(false) => "MISSED",
        };
        println!("{what:<58} {value:>9.2} {unit:<6} {target:<8} {verdict:<7} {details}");
    }
}

/// What the JSON holds.
#[derive(Debug, Serialize)]
struct Report {
    processors: usize,
    /// Load average of the last minute, before and after. Other work on the machine makes every
    /// figure worse, and those of one process less than those of two.
    load: [f64; 2],
    rows: Vec<JsonRow>,
}

#[derive(Debug, Serialize)]
struct JsonRow {
    what: String,
    value: f64,
    unit: &'static str,
    target: Option<Target>,
    met: Option<bool>,
    details: String,
}

/// Writes the JSON, and says whether every target was met.
pub fn finish(rows: Vec<Row>, load: [f64; 2], path: &Path) -> std::io::Result<bool> {
    let met = rows.iter().all(|row| row.is_met() != Some(false));
    let json = |row: Row| {
        let met = row.is_met();
        let Row { what, value, unit, target, details } = row;
        JsonRow { what, value, unit, target, met, details }
    };
    let report =
        Report { processors: processors(), load, rows: rows.into_iter().map(json).collect() };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    println!(
        "\n{} processors, load {:.1} before and {:.1} after; written to {}",
        report.processors,
        load[0],
        load[1],
        path.display()
    );
    Ok(met)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What repeated measurements gave.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds a measurement.
    pub fn push(&mut self, figure: f64) {
        let at = self.0.partition_point(|other| *other < figure);
        self.0.insert(at, figure);
    }

    /// The middle one.
    pub fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// The largest.
    pub fn worst(&self) -> f64 {
        self.at(1.0)
    }

    /// How many there are, and between what the middle half of them lies.
    pub fn spread(&self) -> String {
        format!("{} rounds, half in {:.2}..{:.2}", self.0.len(), self.at(0.25), self.at(0.75))
    }

    fn at(&self, part: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        let mut samples = Self::default();
        figures.into_iter().for_each(|figure| samples.push(figure));
        samples
    }
}

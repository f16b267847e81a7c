//! Rows of figures, judged against their targets.

use std::path::Path;

use serde::Serialize;

/// One figure.
#[derive(Debug, Serialize)]
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
    /// Whether the target, if any, is met. A figure that is no number meets none.
    pub fn passes(&self) -> bool {
        self.target.is_none_or(|target| target.is_met(self.value))
    }

    fn print(&self) {
        let target = self.target.map(|target| target.to_string()).unwrap_or_default();
        let verdict = match (self.target, self.passes()) {
            (None, _) => "",
            (Some(_), true) => "ok",
            (Some(_), false) => "MISSED",
        };
        let Self { what, value, unit, details, .. } = self;
        println!("{what:<52} {value:>10.2} {unit:<8} {target:<10} {verdict:<7} {details}");
    }
}

/// Prints the table, writes the JSON, and says whether every target was met.
pub fn finish(rows: &[Row], path: &Path) -> std::io::Result<bool> {
    for row in rows {
        row.print();
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(path, serde_json::to_vec_pretty(rows)?)?;
    println!("\nwritten to {}", path.display());
    Ok(rows.iter().all(Row::passes))
}

/// The middle of some figures.
pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

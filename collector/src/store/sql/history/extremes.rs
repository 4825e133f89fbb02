//! The SQL of the lowest and the highest minute of hours and days.

use super::{Dialect, Source, Subject, found};
use crate::model::Resolution;
use crate::store::level::Level;

/// The extremes of the minutes of pipeline $3 in each step from $1 to before $2, as `history` takes the parts: of each series
/// its own, added up over nodes, or of node $4. Minutes from $5 on are not complete yet. Two rows of each step, of which the
/// second has `is_max`. A value is null when that of a part is not known.
pub(in crate::store) fn extremes(dialect: Dialect, subject: Subject, step: Resolution) -> String {
    let wanted = format!(
        "SELECT id, node, component, kind FROM series \
         WHERE pipeline = $3 AND {} AND ($4 IS NULL OR node = $4)",
        subject.is_component()
    );
    let columns = subject.extremes();
    // A minute without a sample has no count, which is not a count of zero.
    let of_part = |step: Resolution| match step {
        Resolution::Minute => {
            let is_part = "samples > 0 AND cells.n < $5";
            let values = columns.iter().map(|column| {
                format!(
                    "CASE WHEN {is_part} THEN {column} END AS {column}_min, \
                     CASE WHEN {is_part} THEN {column} END AS {column}_max"
                )
            });
            let values = values.collect::<Vec<_>>().join(", ");
            format!("cells.id, CASE WHEN {is_part} THEN 1 END AS part, {values}")
        }
        Resolution::Hour | Resolution::Day => {
            let values = columns.iter().map(|column| format!("{column}_min, {column}_max"));
            let values = values.collect::<Vec<_>>().join(", ");
            format!("cells.id, CASE WHEN samples > 0 THEN 1 END AS part, {values}")
        }
    };
    let found = found(dialect, step, Source::of(subject), &wanted, of_part);
    let of_series =
        columns.iter().map(|column| ["min", "max"].map(|end| known_end(end, column, "count(part)")).join(", "));
    let of_all = |end: &str, is_max: i64| {
        let values = columns.iter().map(|column| {
            let of_series = format!("{column}_{end}");
            format!("CASE WHEN count({of_series}) = count(*) THEN {} END AS {column}", dialect.sum(&of_series))
        });
        let values = values.collect::<Vec<_>>().join(", ");
        format!(
            "SELECT at, component, CAST({is_max} AS BIGINT) AS is_max, {values} FROM of_series GROUP BY at, component"
        )
    };
    dialect.finish(format!(
        "{found}, of_series AS (SELECT at, component, {} FROM found GROUP BY at, component, id HAVING count(part) > 0) \
         {} UNION ALL {} ORDER BY at, component, is_max",
        of_series.collect::<Vec<_>>().join(", "),
        of_all("min", 0),
        of_all("max", 1),
    ))
}

/// The extreme of a column of parts, unless that of one of them is not known.
fn known_end(end: &str, column: &str, parts: &str) -> String {
    format!("CASE WHEN count({column}_{end}) = {parts} THEN {end}({column}_{end}) END AS {column}_{end}")
}

/// The extreme of a column of the parts that have samples.
pub(super) fn end_of_parts(level: Level, end: &str, column: &str) -> String {
    match level {
        Level::Hours => format!("{end}(CASE WHEN samples > 0 THEN {column} END)"),
        Level::Days => format!(
            "CASE WHEN count({column}_{end}) = count(CASE WHEN samples > 0 THEN 1 END) THEN {end}({column}_{end}) END"
        ),
    }
}

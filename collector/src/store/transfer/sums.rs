//! The comparison of both sides, table by table.

use super::{Bound, Cell, Kind, Row, Side, Table, TransferError, reading, writing};

/// Sums of real numbers depend on the order in which they are added.
const ROUNDING: f64 = 1e-9;

/// Counts and sums every table on both sides, and gives the number of rows.
pub(super) async fn compare(
    source: &mut dyn Side,
    target: &mut dyn Side,
    tables: &[Table],
) -> Result<u64, TransferError> {
    let mut rows = 0;
    let mut differences = Vec::new();
    for table in tables {
        let here = source.query(sums(table)).await.map_err(reading)?.remove(0);
        let there = target.query(sums(table)).await.map_err(writing)?.remove(0);
        rows += here[0].as_int().unsigned_abs();
        differences.extend(differing(table, &here, &there));
    }
    if differences.is_empty() { Ok(rows) } else { Err(TransferError::Differ(differences)) }
}

/// One row: how many there are, then three cells per column: how many are known, and their sum, whole
/// numbers in two halves, because a sum of large ones would not fit.
fn sums(table: &Table) -> Bound {
    let column = |(name, kind): &(String, Kind)| match kind {
        Kind::Int => {
            format!(", count({name}), CAST(sum({name} >> 32) AS TEXT), CAST(sum({name} & 4294967295) AS TEXT)")
        }
        Kind::Float => format!(", count({name}), sum({name}), NULL"),
        Kind::Text => format!(", count({name}), NULL, NULL"),
        Kind::Bytes => format!(
            ", count({name}), CAST(sum(length({name})) >> 32 AS TEXT), CAST(sum(length({name})) & 4294967295 AS TEXT)"
        ),
    };
    let columns: String = table.columns.iter().map(column).collect();
    (format!("SELECT count(*){columns} FROM {}", table.name), Vec::new())
}

fn differing(table: &Table, here: &Row, there: &Row) -> Vec<String> {
    let mut differences = Vec::new();
    if here[0] != there[0] {
        let (here, there) = (here[0].as_int(), there[0].as_int());
        differences.push(format!("{} has {here} rows in the source, {there} in the target", table.name));
    }
    for (index, (name, _)) in table.columns.iter().enumerate() {
        let cells = 1 + 3 * index..4 + 3 * index;
        let (here, there) = (&here[cells.clone()], &there[cells]);
        if here[0] != there[0] || !equal(&here[1], &there[1]) || !equal(&here[2], &there[2]) {
            let (here, there) = (shown(here), shown(there));
            differences.push(format!("{}.{name} sums to {here} in the source, to {there} in the target", table.name));
        }
    }
    differences
}

fn equal(here: &Cell, there: &Cell) -> bool {
    match (here, there) {
        (Cell::Float(here), Cell::Float(there)) => (here - there).abs() <= ROUNDING * here.abs().max(there.abs()),
        _ => here == there,
    }
}

fn shown(cells: &[Cell]) -> String {
    let whole = |cell: &Cell| cell.as_text().parse::<i128>().unwrap_or(0);
    match (&cells[0], &cells[1]) {
        (_, Cell::Text(_)) => ((whole(&cells[1]) << 32) + whole(&cells[2])).to_string(),
        (_, Cell::Float(sum)) => sum.to_string(),
        (known, _) => format!("nothing over {} known values", known.as_int()),
    }
}

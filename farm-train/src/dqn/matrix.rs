//! Products of small matrices, stored row by row.

/// Rows computed together: each number of the right matrix that is read serves all of them.
const ROWS: usize = 4;
/// Columns computed together: two vectors of every processor's base instruction set.
const LANES: usize = 8;

/// Writes the product of `left`, with `inner` columns, and `right`, with `columns`, into `product`.
///
/// Every number of the product is summed in the order of `inner`, so its bits are the same on every
/// processor and for every number of rows.
pub fn multiply(left: &[f32], right: &[f32], inner: usize, columns: usize, product: &mut [f32]) {
    let mut panel = vec![[0.0; LANES]; inner];
    for first in (0..columns).step_by(LANES) {
        let width = LANES.min(columns - first);
        for (lanes, row) in panel.iter_mut().zip(right.chunks_exact(columns)) {
            lanes[..width].copy_from_slice(&row[first..first + width]);
        }
        let blocks = left.chunks(ROWS * inner);
        for (rows, results) in blocks.zip(product.chunks_mut(ROWS * columns)) {
            if rows.len() == ROWS * inner {
                block::<ROWS>(rows, &panel, results, columns, first, width);
                continue;
            }
            let single = rows.chunks_exact(inner);
            for (row, result) in single.zip(results.chunks_exact_mut(columns)) {
                block::<1>(row, &panel, result, columns, first, width);
            }
        }
    }
}

/// `R` rows of the product, in the columns of a panel.
fn block<const R: usize>(
    rows: &[f32],
    panel: &[[f32; LANES]],
    results: &mut [f32],
    columns: usize,
    first: usize,
    width: usize,
) {
    let inner = panel.len();
    let rows: [&[f32]; R] = std::array::from_fn(|row| &rows[row * inner..][..inner]);
    let mut sums = [[0.0_f32; LANES]; R];
    for (index, lanes) in panel.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(rows) {
            let factor = row[index];
            for (sum, lane) in sums.iter_mut().zip(lanes) {
                *sum += factor * lane;
            }
        }
    }
    for (sums, result) in sums.iter().zip(results.chunks_exact_mut(columns)) {
        result[first..first + width].copy_from_slice(&sums[..width]);
    }
}

/// Writes `matrix`, with `columns`, turned over its diagonal.
pub fn transpose(matrix: &[f32], columns: usize, transposed: &mut Vec<f32>) {
    transposed.clear();
    for column in 0..columns {
        transposed.extend(matrix.iter().skip(column).step_by(columns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(left: &[f32], right: &[f32], inner: usize, columns: usize) -> Vec<f32> {
        let mut product = Vec::new();
        for row in left.chunks_exact(inner) {
            for column in 0..columns {
                let terms = row.iter().zip(right[column..].iter().step_by(columns));
                product.push(terms.fold(0.0, |sum, (a, b)| sum + a * b));
            }
        }
        product
    }

    #[test]
    fn every_shape_gives_the_bits_of_the_plain_sum() {
        let number = |index: usize| ((index * 37 % 101) as f32 - 50.0) / 17.0;
        for (rows, inner, columns) in [(1, 9, 3), (4, 8, 8), (6, 5, 17), (64, 3, 32)] {
            let left: Vec<f32> = (0..rows * inner).map(number).collect();
            let right: Vec<f32> = (7..7 + inner * columns).map(number).collect();
            let mut product = vec![f32::NAN; rows * columns];
            multiply(&left, &right, inner, columns, &mut product);
            assert_eq!(product, plain(&left, &right, inner, columns));
        }
    }

    #[test]
    fn columns_become_rows() {
        let mut transposed = vec![9.0];
        transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, &mut transposed);
        assert_eq!(transposed, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}

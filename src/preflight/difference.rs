//! The lines in which two texts differ, as `diff -u` shows them.

/// All lines, common ones after a blank, those of `left` alone after `-`, those of `right` alone after `+`. A comma at a line's end
/// says only that there is another line.
pub(super) fn unified(left: &str, right: &str) -> Vec<String> {
    let left: Vec<&str> = left.lines().collect();
    let right: Vec<&str> = right.lines().collect();
    let is_same =
        |l: usize, r: usize| left[l].trim_end_matches(',') == right[r].trim_end_matches(',');
    // Lengths of the longest common subsequences of what is left; a table has few lines.
    let mut lengths = vec![vec![0_usize; right.len() + 1]; left.len() + 1];
    for l in (0..left.len()).rev() {
        for r in (0..right.len()).rev() {
            lengths[l][r] = if is_same(l, r) {
                lengths[l + 1][r + 1] + 1
            } else {
                lengths[l + 1][r].max(lengths[l][r + 1])
            };
        }
    }
    let (mut l, mut r) = (0, 0);
    let mut lines = Vec::new();
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() && is_same(l, r) {
            lines.push(format!(" {}", left[l]));
            l += 1;
            r += 1;
        } else if r == right.len() || (l < left.len() && lengths[l + 1][r] >= lengths[l][r + 1]) {
            lines.push(format!("-{}", left[l]));
            l += 1;
        } else {
            lines.push(format!("+{}", right[r]));
            r += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::unified;

    #[test]
    fn lines_that_only_one_has_are_marked() {
        let lines = unified("a\nb\nc\nd", "a\nx\nc\nd\ne");
        assert_eq!(lines, [" a", "-b", "+x", " c", " d", "+e"]);
        assert_eq!(unified("", "a"), ["+a"]);
        assert_eq!(unified("a", "a,\nb"), [" a", "+b"]);
        assert_eq!(unified("a\nb", "a\nb"), [" a", " b"]);
    }
}

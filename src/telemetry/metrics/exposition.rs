//! From what prometheus-client writes to what every Prometheus reads.
//!
//! prometheus-client writes OpenMetrics: there a counter is declared without its `_total` and the text ends with
//! `# EOF`. The older text format, which `promtool check metrics` and most tools speak, knows the counter only by
//! its full name, so that help and type would be missing.

use prometheus_client::registry::Registry;

/// The registry in the Prometheus text format 0.0.4.
pub(super) fn prometheus_text(registry: &Registry) -> String {
    let mut open_metrics = String::new();
    // writing into a String fails only if an encoder of ours does, and none can
    if prometheus_client::encoding::text::encode(&mut open_metrics, registry).is_err() {
        return String::new();
    }
    translate(&open_metrics)
}

fn translate(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len() + 1_024);
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, text)) = help.take() {
                out.push_str(&format!("# HELP {name}{suffix} {text}\n"));
            }
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_declared_by_its_full_name() {
        let text = translate(
            "# HELP a_b Bs.\n# TYPE a_b counter\na_b_total 1\n# HELP c C.\n# TYPE c gauge\n# UNIT c s\nc 2\n# EOF\n",
        );
        assert_eq!(
            text,
            "# HELP a_b_total Bs.\n# TYPE a_b_total counter\na_b_total 1\n# HELP c C.\n# TYPE c gauge\nc 2\n"
        );
    }
}

//! The curve: how likely a read returns the last write, by how long after it the read begins.

use std::fmt::Write as _;

use predict::Prediction;

use super::{millis, percent};

/// The picture, in units of SVG.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;

/// Where the curve is within it.
const LEFT: f64 = 70.0;
const RIGHT: f64 = WIDTH - 40.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = HEIGHT - 55.0;

/// Points of the curve.
const POINTS: u32 = 240;

/// The time axis: logarithmic, because staleness spans decades.
struct Axis {
    /// The powers of ten at both ends, of milliseconds.
    from: f64,
    to: f64,
}

impl Axis {
    /// Wide enough for all but one read in ten thousand.
    fn of(prediction: &Prediction) -> Self {
        let last = prediction.stale.quantile(0.9999).millis.max(0.1);
        let to = last.log10().ceil();
        Self { from: to - 4.0, to }
    }

    fn x(&self, millis: f64) -> f64 {
        let along = (millis.log10() - self.from) / (self.to - self.from);
        LEFT + along.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    fn millis(&self, along: f64) -> f64 {
        10f64.powf(self.from + along * (self.to - self.from))
    }
}

fn y(share: f64) -> f64 {
    BOTTOM - share * (BOTTOM - TOP)
}

/// The whole file.
pub(super) fn draw(prediction: &Prediction, source: &str) -> String {
    let axis = Axis::of(prediction);
    let quorum = prediction.quorum;
    let title = format!("N={} R={} W={}, {source}", quorum.n(), quorum.r(), quorum.w());
    let title = format!("{}: a read returns the last write", escaped(&title));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\" role=\"img\">\n<title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"16\">{title}</text>\n"
    );
    draw_grid(&mut svg, &axis);
    draw_curve(&mut svg, prediction, &axis);
    draw_marks(&mut svg, prediction, &axis);
    svg.push_str("</svg>\n");
    svg
}

fn draw_grid(svg: &mut String, axis: &Axis) {
    for fifth in 0..=5 {
        let share = f64::from(fifth) / 5.0;
        let y = y(share);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 4.0,
            percent(share)
        );
    }
    for decade in 0..=4 {
        let at = axis.millis(f64::from(decade) / 4.0);
        let x = axis.x(at);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {TOP}V{BOTTOM}\" stroke=\"#ddd\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{at} ms</text>",
            BOTTOM + 18.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">if it begins so long after the write was \
         acknowledged</text>",
        f64::midpoint(LEFT, RIGHT),
        HEIGHT - 14.0
    );
}

fn draw_curve(svg: &mut String, prediction: &Prediction, axis: &Axis) {
    svg.push_str("<polyline fill=\"none\" stroke=\"#1565c0\" stroke-width=\"2\" points=\"");
    for point in 0..=POINTS {
        let millis = axis.millis(f64::from(point) / f64::from(POINTS));
        let _ = write!(svg, "{:.1},{:.1} ", axis.x(millis), y(prediction.returns_latest(millis)));
    }
    svg.push_str("\"/>\n");
}

/// What most people look for, in words beside the curve.
fn draw_marks(svg: &mut String, prediction: &Prediction, axis: &Axis) {
    let at_once = prediction.returns_latest(0.0);
    let mut lines = vec![format!("{} at once", percent(at_once))];
    for share in [0.99, 0.999].into_iter().filter(|share| at_once < *share) {
        let after = prediction.stale.quantile(share).millis;
        lines.push(format!("{} after {}", percent(share), millis(after)));
        let (x, y) = (axis.x(after), y(share));
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"#c62828\"/>");
    }
    for (index, text) in lines.iter().enumerate() {
        let y = BOTTOM - 14.0 - 18.0 * (lines.len() - 1 - index) as f64;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"end\" fill=\"#c62828\">{text}</text>",
            RIGHT - 8.0
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use predict::{Legs, Quorum};
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn the_picture_says_what_the_table_says_and_its_curve_never_falls() {
        let quorum = Quorum::new(3, 1, 1).unwrap();
        let mut rng = SmallRng::seed_from_u64(1);
        let predicted = Prediction::compute(quorum, &Legs::lnkd_disk(), 50_000, &mut rng);
        let svg = draw(&predicted, "a<b");
        assert!(svg.contains("N=3 R=1 W=1, a&lt;b") && svg.ends_with("</svg>\n"), "{svg}");
        assert!(svg.contains(&format!("{} at once", percent(predicted.returns_latest(0.0)))));
        let (_, points) = svg.split_once("points=\"").unwrap();
        let (points, _) = points.split_once('"').unwrap();
        let heights: Vec<f64> = points
            .split_whitespace()
            .map(|point| point.split_once(',').unwrap().1.parse().unwrap())
            .collect();
        assert!(heights.is_sorted_by(|a, b| a >= b), "up is less: {heights:?}");
        assert!(heights[0] - heights[heights.len() - 1] > 100.0, "the curve rises");
    }
}

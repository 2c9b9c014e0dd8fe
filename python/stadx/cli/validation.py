"""`stadx calibrate --from-validation`."""

from __future__ import annotations

from pathlib import Path

import typer

from .console import BAD_INPUT, ShownProgress, check_not_read, fail, listing, say, write_json
from .opening import apply_region, open_model


def by_validation(
    model: Path,
    data: Path | None,
    out: Path,
    target_fpr: float | None,
    image_fpr: float | None,
    json_file: Path | None,
    roi: str | None,
    device: str,
) -> None:
    """Set both thresholds by validation images."""
    from stadx.core.errors import DataError
    from stadx.core.version import versions
    from stadx.data.layouts import list_category
    from stadx.data.pages import entry_of
    from stadx.detectors.validation import calibrate_on_files
    from stadx.metrics.intervals import percent

    if data is None:
        raise typer.BadParameter("name a category with validation images", param_hint="DATA")
    with listing():
        category = list_category(data).category
    if not category.validation:
        raise DataError(
            f"{data}: has no validation images (validation/good of MVTec AD 2 and MVTec LOCO AD); copy the set's, or "
            "leave out --from-validation and give --good and --defects"
        )
    check_not_read(model, category.validation, out, json_file)
    detector = open_model(model, device, None, None)
    region = apply_region(detector, roi)
    previous = {"pixel": detector.threshold_, "image": detector.image_threshold()}
    detector.target_fpr = detector.target_fpr if target_fpr is None else target_fpr
    detector.image_fpr = detector.image_fpr if image_fpr is None else image_fpr
    with ShownProgress() as progress:
        failures = calibrate_on_files(detector, category.validation, roi=region, progress=progress)
    for failure in failures:
        fail(failure.message)
    now, alarms = {"pixel": detector.threshold_, "image": detector.image_threshold()}, detector.false_alarms()
    say(f"Asked for: {percent(detector.target_fpr)} of the pixels of good images flagged.")
    say(alarms.sentence())
    if json_file is not None:
        failed = {failure.path for failure in failures}
        judged = [path for path in category.validation if path not in failed]
        content = {
            "model": str(model),
            "stride": detector.stride,
            "target_fpr": detector.target_fpr,
            "image_fpr": detector.image_fpr,
            "thresholds": now,
            "previous": previous,
            "false_alarms": alarms._asdict(),
            "images": [
                {**entry_of(path), "score": float(score)}
                for path, score in zip(judged, detector.judged_scores(), strict=True)
            ],
            "failures": [{**entry_of(failure.path), "error": failure.message} for failure in failures],
            "versions": versions(),
        }
        write_json(json_file, content)
    detector.save(out)
    kinds = (f"of {kind} {now[kind]:.4g}, before {previous[kind]:.4g}" for kind in now)
    say(f"Model: {out} (threshold {'; '.join(kinds)})")
    if failures:
        fail(f"{len(failures)} of {len(category.validation)} images could not be scored; the others set the thresholds")
        raise typer.Exit(BAD_INPUT)

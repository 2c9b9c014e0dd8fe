"""Teacher pretraining: the knowledge of a large network, distilled into a patch network."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stadx.core.devices import usable_device
from stadx.core.errors import DataError, StadxError
from stadx.core.files import check_writable, file_hash, is_written_through, write_model
from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.data.photos.patches import PhotoPatches
from stadx.data.photos.reading import Photo, fingerprint_photos, list_photos
from stadx.data.photos.stream import patch_stream
from stadx.networks.graphed_step import GraphedStep
from stadx.networks.patch_network import PatchNetwork, channels_last, normalize_images
from stadx.networks.training import (
    Checkpoint,
    arithmetic,
    check_finite,
    in_bfloat16,
    learning_rate_factor,
    make_optimizer,
    restore_training_state,
    set_learning_rate,
    training_state,
)

from . import distributed
from .diagnostics import HeldOut
from .distillation import PatchGrid, patch_grid, target_size
from .feature_cache import FeatureCache
from .objective import Averages, Objective
from .pretrained import PretrainedNetwork, as_pretrained
from .settings import PretrainSettings
from .start import TIMES_FIRST, decoder, first_crops, network_to_distil, start_from
from .teacher_files import TEACHER_VERSION


@keep_freed_memory()
def pretrain(
    photos: str | os.PathLike[str],
    settings: PretrainSettings,
    out: str | os.PathLike[str],
    *,
    progress: Progress = silent,
    network: PretrainedNetwork | nn.Module | None = None,
    workers: int = 0,
    feature_cache: str | os.PathLike[str] | None = None,
    report: str | os.PathLike[str] | None = None,
    start: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """Train a teacher on photos and write it to a file.

    L = λk Lk + λm Lm + λc Lc (Eq. 6). A twentieth of the photos (at least one) is held out to tell the share of P's
    variance that D(T̂(x)) explains. The state is saved to `out` + ".part" every half minute; a killed run resumes from
    there, bit for bit.

    Started by torchrun, the processes share every batch out among them. Gradients and the statistics of Lc are those
    of the whole batch, so that the teacher is that of one process but for rounding; the first process writes the files.

    Args:
        photos: a folder of natural photos, sub-folders and tar files in it included, or one tar file.
        settings: see `PretrainSettings`.
        out: the teacher file to write.
        progress: told how far the preparations are; then "Teacher", the step, and the running means of the losses that
            have a weight, of "compactness" always, and "explained" if P is distilled.
        network: P, if not the one that `settings` names: a `PretrainedNetwork`, or a module as `as_pretrained` takes.
        workers: processes that decode photos; 0 is one thread. The result is the same.
        feature_cache: folder where P's features are kept for other trainings on the same patches, one file for each
            process of torchrun. With it, or with `distinct_batches`, they are rounded to float16.
        report: HTML file about the training, rewritten at every twentieth of it.
        start: a teacher file to go on from, instead of random weights.
        device: where to train: "cpu", or a GPU ("cuda", "cuda:1", …), which torchrun's processes cannot share.

    Returns:
        The card: settings, counts, losses, share of variance explained.

    Raises:
        DataError, OutputError, MissingExtraError, ModelFileError, StadxError: as their messages say.
        ValueError: for a device that is not there.
    """
    place = usable_device(device)
    with distributed.process_group():
        if place.type != "cpu" and distributed.world_size() > 1:
            raise StadxError("torchrun's processes train on the CPU together; on a GPU start one process, without it")
        told = progress if distributed.is_first() else silent
        return distributed.from_first(
            _pretrain(photos, settings, out, told, network, workers, feature_cache, report, start, place)
        )


def _pretrain(
    photos: str | os.PathLike[str],
    settings: PretrainSettings,
    out: str | os.PathLike[str],
    progress: Progress,
    network: PretrainedNetwork | nn.Module | None,
    workers: int,
    feature_cache: str | os.PathLike[str] | None,
    report: str | os.PathLike[str] | None,
    start: str | os.PathLike[str] | None,
    device: torch.device,
) -> dict[str, Any]:
    first = distributed.is_first()
    for file in (out, report):
        if first and file is not None:
            check_writable(file)
    net = _patch_network(settings)
    if start is not None:
        start_from(net, start)
    grid = patch_grid(net, settings.dense)
    crops = grid.crops(settings.batch)
    part = distributed.own_part(crops, grid.patches)
    held_out, kept = _split(list_photos(photos, progress), settings)
    photo_hash = fingerprint_photos(held_out + kept, progress)
    distils = settings.distillation_weight > 0
    known = None if network is None or not distils else as_pretrained(network, settings.pretrained_input)
    rounded = distils and (feature_cache is not None or settings.distinct_batches > 0)
    depends_on = {
        **settings.to_json(),
        "photos": photo_hash,
        "network": None if not distils else settings.pretrained_network if known is None else known.name,
        "rounded_features": rounded,
        "start": None if start is None else file_hash(start),
    }
    checkpoint = Checkpoint(
        f"{os.fspath(out)}.part" if first and not is_written_through(out) else None,
        depends_on,
        arithmetic(settings.precision, device),
    )
    saved = distributed.from_first(checkpoint.load())  # before the work: it may be another run's

    source = _patches(kept, grid, settings, settings.seed)
    times = TIMES_FIRST if settings.dense or (distils and start is not None) else 1
    beginning = first_crops(source, grid, times, progress)
    p_net = network_to_distil(known, grid, beginning, settings, device, progress)
    held = HeldOut(_patches(held_out, grid, settings, settings.seed + 1), held_out, grid, p_net, settings)

    generator = torch.Generator().manual_seed(settings.seed)
    if start is None:
        net.init_from_data(normalize_images(beginning[0]), generator)
    modules: dict[str, nn.Module] = {"net": net}
    if p_net is not None:
        trained = start is not None
        modules["decode"] = decoder(net, p_net, grid, beginning, settings, generator, trained, device, progress)
    del beginning
    for module in modules.values():
        module.to(device)
    channels_last(net)
    parameters = [p for module in modules.values() for p in module.parameters()]
    optimizer = make_optimizer(settings.optimizer, parameters, settings.rate, settings.weight_decay, settings.precision)
    cache = None
    if p_net is not None and rounded:
        key = _cache_key(photo_hash, settings, p_net, part, device)
        shape = (part.stop - part.start) * grid.patches, target_size(p_net, settings.dense)
        cache = FeatureCache(feature_cache, key, settings.distinct_batches or settings.steps, shape)

    objective = Objective(settings, grid, net, modules.get("decode"), p_net, cache)

    step, history, averages = 0, list[dict[str, float]](), Averages()
    if saved is not None:
        state, tensors = saved
        step, history = state["step"], state["history"]
        averages.values = state["averages"]
        restore_training_state(modules, optimizer, tensors)
    distributed.share(parameters)
    names: list[str] = []

    def descend(*inputs: Tensor) -> Tensor:
        """The terms of a step, named by `names`; the teacher takes it."""
        optimizer.zero_grad()
        terms = objective(*inputs)
        names[:] = terms
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        distributed.average_gradients(parameters)
        optimizer.step()
        return distributed.mean(torch.stack(list(terms.values())))

    take_step = GraphedStep(descend)
    numbers = [settings.patches_of(s) for s in range(step, settings.steps)]
    with contextlib.closing(
        patch_stream(source, numbers, crops, triplets=settings.triplet_weight > 0, part=part, workers=workers)
    ) as stream:
        for number, patches in zip(numbers, stream, strict=True):
            factor = learning_rate_factor(step, settings.steps, settings.schedule)
            set_learning_rate(optimizer, settings.rate * factor)
            values = take_step(*objective.inputs(number, patches)).tolist()
            terms = dict(zip(names, values, strict=True))
            check_finite(terms["loss"], step + 1, checkpoint)
            step += 1
            figures = averages.update(terms)
            look = first and report is not None and (step == settings.steps or step % max(1, settings.steps // 20) == 0)
            if look or step % max(1, settings.steps // 50) == 0:
                history.append({"step": step, **{k: round(v, 4) for k, v in figures.items()}})
            if look and report is not None:
                _look(report, held, modules, history, settings, progress)
            progress("Teacher", step, settings.steps, figures)
            if checkpoint.due():
                state = {"step": step, "history": history, "averages": averages.values}
                checkpoint.save(state, training_state(modules, optimizer))

    if not first:
        return {}
    explained = held.explained(net, modules.get("decode"), progress)
    card: dict[str, Any] = {
        **settings.to_json(),
        "start": None if start is None else Path(start).name,
        "photos": len(kept),
        "held_out_photos": len(held_out),
        "pretrained_network": p_net and p_net.name,
        "pretrained_licence": p_net and p_net.licence,
        "explained_held_out": None if explained is None else round(explained, 4),
        "history": history,
    }
    write_model(out, "teacher", TEACHER_VERSION, {"network": net.settings, "card": card}, _half(net))
    checkpoint.remove()
    return card


def _split(files: list[Photo], settings: PretrainSettings) -> tuple[list[Photo], list[Photo]]:
    """Photos held out, and photos to train on."""
    least = 3 if settings.triplet_weight else 2
    if len(files) < least:
        raise DataError(
            f"{files[0]}: there are only {len(files)} photos; this training needs {least} or more, and thousands to be "
            "good"
        )
    return files[::20], [f for i, f in enumerate(files) if i % 20]


def _patch_network(settings: PretrainSettings) -> PatchNetwork:
    return PatchNetwork(
        settings.patch_size,
        descriptor_size=settings.descriptor_size,
        conv3_channels=settings.conv3_channels,
        last_activation=settings.last_activation,
        padding=settings.padding,
    )


def _patches(photos: list[Photo], grid: PatchGrid, settings: PretrainSettings, seed: int) -> PhotoPatches:
    return PhotoPatches(
        photos,
        settings.patch_size,
        crop=grid.crop,
        zoom=settings.zoom,
        enlarge=settings.enlarge,
        seed=seed,
        grey=settings.grey,
        luminance=settings.luminance,
        noise=settings.noise,
    )


def _cache_key(
    photo_hash: str, settings: PretrainSettings, p_net: PretrainedNetwork, part: slice, device: torch.device
) -> dict[str, Any]:
    """Everything that P's features of a numbered batch depend on, but for the versions of libraries."""
    names = ("patch_size", "pretrained_input", "targets", "batch", "zoom", "enlarge", "grey", "seed")
    low = in_bfloat16(settings.precision, device)
    key = {name: getattr(settings, name) for name in names}
    return {**key, "photos": photo_hash, "network": p_net.name, "bfloat16": low, "part": [part.start, part.stop]}


def _look(
    report: str | os.PathLike[str],
    held: HeldOut,
    modules: dict[str, nn.Module],
    history: list[dict[str, float]],
    settings: PretrainSettings,
    progress: Progress,
) -> None:
    """Measure on held-out patches, note it in the last entry of the history, and write the page."""
    from .page import write_teacher_page

    net = modules["net"]
    assert isinstance(net, PatchNetwork)
    diagnosis = held.diagnose(net, modules.get("decode"), progress)
    if diagnosis.explained is not None:
        history[-1]["held_out_explained"] = round(diagnosis.explained, 4)
    history[-1]["effective_rank"] = round(diagnosis.effective_rank, 2)
    progress("Report", 0, 1, {})
    write_teacher_page(report, diagnosis, history, settings.to_json())
    progress("Report", 1, 1, {})


def _half(net: nn.Module) -> dict[str, Tensor]:
    return {k: v.to(torch.float16) for k, v in net.state_dict().items()}

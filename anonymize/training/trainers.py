"""Training with ultralytics, for boxes with or without known corners, also on a CPU.

What differs from the stock trainer: bfloat16 on CPUs that have it (it switches mixed precision off there); photos whose
marks have no corners teach the box only; the third number of each corner is how sure it is, not whether it is seen;
weather and cameras' faults as augmentation; checkpoints are written whole or not at all.
Importing this module loads torch and ultralytics.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics import YOLO, settings
from ultralytics.data import dataset as datasets
from ultralytics.data import utils as data_utils
from ultralytics.data.dataset import YOLODataset
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.models.yolo.pose import PoseTrainer
from ultralytics.nn.tasks import DetectionModel, PoseModel, load_checkpoint, torch_safe_load
from ultralytics.utils.loss import v8PoseLoss

from ..cpus import cores
from ..detectors.runtime import threads
from ..errors import AnnotationError, PathError, WeightsError
from ..weights.convert import admit, write_onnx
from .degrade import degrade

CORNER_BRANCH = "cv4"  # ultralytics' name of a pose head's keypoint convolutions
# What ultralytics reports to: itself, and services whose packages are there.
TRACKERS = ("sync", "clearml", "comet", "dvc", "mlflow", "neptune", "raytune", "tensorboard", "wandb")
CORNER_RATE = 5.0  # their learning rate / that of the rest


def _load_no_cache(path: Path) -> Any:
    raise FileNotFoundError(path)


def _save_no_cache(prefix: str, path: Path, found: dict[str, Any], version: str) -> None:
    found["version"] = version  # as the real one does, but for the file


# A user's data set is only read: ultralytics would write .cache files into it, unpickle those that lie there, and
# write JPEGs without an end marker anew.
datasets.load_dataset_cache_file = _load_no_cache
datasets.save_dataset_cache_file = _save_no_cache
data_utils._replace_image = lambda *_: None


class CornerLoss(v8PoseLoss):
    """Distance of corners in units of the box's size, only where they are known; and how sure each corner is.

    The stock loss saturates for far corners, so that a new head hardly learns, and teaches its third number "not
    visible" for every real plate. Here that number learns exp(-4 distance / size).
    """

    def calculate_keypoints_loss(
        self,
        masks: torch.Tensor,
        target_gt_idx: torch.Tensor,
        keypoints: torch.Tensor,
        stride_tensor: torch.Tensor,
        target_bboxes: torch.Tensor,
        pred_kpts: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both losses, scalars. Shapes as in ultralytics' v8PoseLoss."""
        gt = keypoints[masks.nonzero(as_tuple=True)[0], target_gt_idx[masks]].clone()  # (A, K, 3) px
        stride = stride_tensor.view(1, -1).expand(masks.shape[0], -1)[masks][:, None, None]
        gt[..., :2] /= stride
        boxes = target_bboxes[masks] / stride[:, 0]
        size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0.1).prod(1).sqrt()[:, None]
        pred = pred_kpts[masks]
        known = (gt[..., 2] > 0).float()
        count = known.sum().clamp(min=1)
        distance = ((pred[..., :2] - gt[..., :2]).pow(2).sum(-1) + 1e-6).sqrt() / size
        place = (distance * known).sum() / count
        if pred.shape[-1] < 3:
            return place, place * 0
        sure = torch.exp(-4 * distance.detach())
        doubt = torch.nn.functional.binary_cross_entropy_with_logits(pred[..., 2], sure, reduction="none")
        return place, (doubt * known).sum() / count


class _Bfloat16:
    """A model whose training pass runs in bfloat16 on CPUs that have it; the loss stays float32."""

    def loss(self, batch: dict[str, Any], preds: Any = None) -> Any:
        image = batch["img"]
        if preds is None and image.device.type == "cpu" and self.training and has_bfloat16():  # type: ignore[attr-defined]
            with torch.autocast("cpu", torch.bfloat16):
                preds = self.forward(image.contiguous(memory_format=torch.channels_last))  # type: ignore[attr-defined]
            preds = _float32(preds)
        return super().loss(batch, preds)  # type: ignore[misc]


class CornerModel(_Bfloat16, PoseModel):
    def init_criterion(self) -> CornerLoss:
        return CornerLoss(self)


class BoxModel(_Bfloat16, DetectionModel):
    pass


STOCK = {CornerModel: PoseModel, BoxModel: DetectionModel}  # what checkpoints name: they load without this package


def _float32(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.float()
    if isinstance(value, dict):
        return {k: _float32(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_float32(v) for v in value)
    return value


def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself (else it is slower than float32)."""
    try:
        return any(flag in Path("/proc/cpuinfo").read_text() for flag in ("avx512_bf16", "amx_bf16"))
    except OSError:
        return False


class Degraded(YOLODataset):
    """A data set whose training photos also get motion blur, rain, night, noise and low JPEG quality.

    `epoch_photos` shortens an epoch: its photos are drawn without repetition until all were seen. Short epochs give
    smooth schedules and checkpoints every few minutes where a pass over all photos takes long.
    """

    epoch_photos = 0

    def __len__(self) -> int:
        everything = len(self.labels)
        return min(self.epoch_photos, everything) or everything

    def __getitem__(self, index: int) -> Any:
        if not self.epoch_photos:
            return super().__getitem__(index)
        pool: list[int] = self.__dict__.setdefault("_pool", [])
        if not pool:
            pool.extend(np.random.permutation(len(self.labels)).tolist())
        return super().__getitem__(pool.pop())

    def build_transforms(self, hyp: Any = None) -> Any:
        transforms = super().build_transforms(hyp)
        if self.augment:
            transforms.insert(len(transforms.transforms) - 1, _degrade)
        return transforms


def _degrade(labels: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(np.random.randint(1 << 31))  # ultralytics seeds the global one
    labels["img"] = degrade(labels["img"], rng)
    return labels


class _Trainer:
    """What both trainers share; mixed into ultralytics' own."""

    model_class: type
    epoch_photos = 0
    validate_every = 1

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        model = super().get_model(cfg, weights, verbose)  # type: ignore[misc]
        model.__class__ = self.model_class
        return model.to(memory_format=torch.channels_last) if self.device.type == "cpu" else model  # type: ignore[attr-defined]

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
        try:
            dataset = super().build_dataset(img_path, mode, batch)  # type: ignore[misc]
        except (RuntimeError, ValueError) as e:
            raise AnnotationError(f"{img_path}: {str(e).splitlines()[0]}") from e
        listed = Path(img_path).read_text("utf-8").splitlines()
        if unread := sorted(set(listed) - {label["im_file"] for label in dataset.labels}):
            raise AnnotationError(f"{unread[0]} cannot be read ({len(unread)} of {len(listed)} photos)")
        if mode == "train":
            dataset.__class__ = Degraded
            dataset.epoch_photos = self.epoch_photos
            dataset.transforms = dataset.build_transforms(hyp=self.args)  # type: ignore[attr-defined]
        return dataset

    def save_model(self) -> bool:
        """Checkpoints appear whole: written beside their place, then renamed."""
        last, best, ema = self.last, self.best, self.ema.ema  # type: ignore[attr-defined,has-type]
        own = ema.__class__
        try:
            self.last, self.best = (p.with_suffix(".part") for p in (last, best))
            ema.__class__ = STOCK.get(own, own)
            saved = super().save_model()  # type: ignore[misc]
        finally:
            ema.__class__ = own
            self.last, self.best = last, best
        for path in (last, best):
            if (part := path.with_suffix(".part")).exists():
                os.replace(part, path)
        return bool(saved)

    def validate(self) -> Any:
        """Now and then; the boxes alone choose the best epoch: validation photos rarely have corners."""
        is_last = self.stop or self.epoch + 1 >= self.epochs  # type: ignore[attr-defined]
        if (self.epoch + 1) % self.validate_every and not is_last:  # type: ignore[attr-defined]
            return self.metrics, None  # type: ignore[attr-defined]
        kept = self.best_fitness  # type: ignore[has-type]
        metrics, fitness = super().validate()  # type: ignore[misc]
        if metrics and "metrics/mAP50(B)" in metrics:
            fitness = 0.5 * metrics["metrics/mAP50(B)"] + 0.5 * metrics["metrics/mAP50-95(B)"]
            self.best_fitness = fitness if kept is None else max(kept, fitness)
        return metrics, fitness

    def resume_training(self, ckpt: Any) -> None:
        """With a budget of hours, those of earlier runs count (ultralytics would begin its estimate of epochs anew)."""
        super().resume_training(ckpt)  # type: ignore[misc]
        if not self.resume or not self.args.time:  # type: ignore[attr-defined]
            return
        spent = (self.read_results_csv().get("time") or [0.0])[-1]  # type: ignore[attr-defined]

        def earlier(trainer: Any) -> None:
            if trainer.start_epoch:
                trainer.train_time_start -= spent
                trainer.start_epoch = 0  # from here on it only serves to average the time of an epoch

        self.add_callback("on_train_epoch_start", earlier)  # type: ignore[attr-defined]


class CornerTrainer(_Trainer, PoseTrainer):
    model_class = CornerModel

    def build_optimizer(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """The corner branch learns faster: it starts from nothing, everything else was trained before."""
        optimizer = super().build_optimizer(model, *args, **kwargs)
        fast = {id(p) for name, p in model.named_parameters() if f".{CORNER_BRANCH}." in name}
        for group in list(optimizer.param_groups):
            chosen = [p for p in group["params"] if id(p) in fast]
            group["params"] = [p for p in group["params"] if id(p) not in fast]
            if chosen:
                optimizer.add_param_group({**group, "params": chosen, "lr": group["lr"] * CORNER_RATE})
        return optimizer


class BoxTrainer(_Trainer, DetectionTrainer):
    model_class = BoxModel


def run(overrides: dict[str, Any], *, corners: bool, photos: int, validate_every: int) -> Path:
    """Train with ultralytics' arguments.

    Args:
        corners: whether the data has keypoints.
        photos: of a short epoch; 0: all.
        validate_every: epochs.

    Returns:
        The best checkpoint.

    Raises:
        PathError: a checkpoint to resume whose training has ended.
    """
    # A tracker that happens to be installed would be sent figures and pictures.
    settings.update({name: False for name in TRACKERS if name in settings})
    trainer: Any = (CornerTrainer if corners else BoxTrainer)(overrides=overrides)
    trainer.epoch_photos, trainer.validate_every = photos, validate_every
    count = threads() or cores()
    trainer.add_callback("on_train_start", lambda _: torch.set_num_threads(count))  # ultralytics leaves one core idle
    try:
        trainer.train()
    except AssertionError as e:
        if "nothing to resume" in str(e):
            raise PathError(f"{overrides['resume']}: this training has ended; start another from its best.pt") from e
        raise
    best: Path = trainer.best if trainer.best.exists() else trainer.last
    return best


def clean_checkpoint(source: Path, target: Path, *, corners: bool, safe: bool) -> tuple[str, str]:
    """Read a .pt and write it as a stock one that holds nothing but the network.

    Args:
        corners: whether a network with keypoints is wanted.
        safe: build only torch's and ultralytics' own classes; what else training left in it becomes empty.

    Returns:
        The architecture for a training that starts from it (its keypoint form where corners are wanted), and `target`.

    Raises:
        WeightsError: not a checkpoint of a detector.
    """
    if safe:
        try:
            admit(source)
        except Exception as e:  # not a zip file of torch's
            raise WeightsError(f"{source} is not a checkpoint: {e}") from e
    try:
        checkpoint, _ = torch_safe_load(str(source), safe_only=safe)
        network = (checkpoint.get("ema") or checkpoint["model"]).float()
        architecture = Path(str(network.yaml.get("yaml_file") or network.yaml.get("yaml") or "yolov8n.yaml")).name
    except Exception as e:  # a pickle may fail in any way
        raise WeightsError(f"{source} is not a detector's checkpoint: {str(e).splitlines()[:1]}") from e
    torch.save({"model": network.half(), "ema": None, "epoch": -1, "optimizer": None, "train_args": {}}, target)
    return architecture_for(architecture, corners), str(target)


def architecture_for(name: str, corners: bool) -> str:
    """ultralytics' name of an architecture, with keypoints or without: yolov8n.yaml -> yolov8n-pose.yaml."""
    path = Path(name)
    return str(path.with_name(path.stem.removesuffix("-pose") + ("-pose" if corners else "") + path.suffix))


def export(checkpoint: Path, target: Path) -> Path:
    """A checkpoint -> ONNX with any input size (multiples of 32), without suppression of overlaps, class names inside.

    Output: (N, 4 + classes [+ 3 for each corner], boxes): center x, y, width, height in px, scores, corners x, y in px
    and how sure they are, 0–1.
    """
    write_onnx(YOLO(str(checkpoint)), target)
    return target


def figures(checkpoint: Path) -> dict[str, float]:
    """What ultralytics measured when it wrote this checkpoint."""
    saved = load_checkpoint(checkpoint)[1].get("train_metrics") or {}
    return {k: float(v) for k, v in saved.items() if v is not None}


def facts(checkpoint: Path) -> dict[str, Any]:
    """How a checkpoint was trained: ultralytics' arguments, the epochs done, the date."""
    saved = load_checkpoint(checkpoint)[1]
    done = len((saved.get("train_results") or {}).get("epoch", []))
    return {**saved["train_args"], "epoch": done or saved.get("epoch", -1) + 1, "date": str(saved.get("date"))[:10]}


def curves(table: Path) -> None:
    """results.csv -> results.png beside it."""
    from ultralytics.utils.plotting import plot_results

    plot_results(file=str(table))

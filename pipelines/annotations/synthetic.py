"""The synthetic dataset, which is generated where others are converted."""

import logging

from tqdm import tqdm

from hrpose.storage import is_remote
from pipelines.annotations.conversion import ConversionTask, Filtered
from pipelines.errors import BuildError
from pipelines.synthetic.dataset import generate
from pipelines.synthetic.options import SyntheticOptions

log = logging.getLogger(__name__)


def prepare(task: ConversionTask) -> Filtered:
    """Generates the dataset unless it is there; nobody is left out.

    Raises:
        BuildError: if the folder holds one of other options, or something else, or is not on this host.
    """
    folder = task.paths.dataset_dir
    if is_remote(folder):
        raise BuildError(
            f"--dataset_dir={folder}: the synthetic dataset is generated on this host; expected a path of "
            "it. --records_dir may be elsewhere"
        )
    options = SyntheticOptions(**task.options)
    total = options.train_images + options.val_images
    with tqdm(total=total, desc="render", unit=" images", dynamic_ncols=True, delay=1) as bar:

        def show(done: int, _: int) -> None:
            bar.update(done - bar.n)

        try:
            rendered = generate(folder, options, task.workers, task.overwrite, show)
        except FileExistsError as error:
            raise BuildError(f"{error}; --overwrite and --dataset_dir do that") from error
        bar.leave = rendered
    log.info(
        "%s: %s train and %s val images %s",
        folder,
        f"{options.train_images:,}",
        f"{options.val_images:,}",
        "rendered" if rendered else "already rendered",
    )
    return {}

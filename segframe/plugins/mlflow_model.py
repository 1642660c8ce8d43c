"""An exported SavedModel as an MLflow model that needs TensorFlow only, not segframe."""

from __future__ import annotations

import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient


def log_saved_model(client: MlflowClient, run_id: str, saved_model: Path) -> None:
    """Keep the SavedModel as the run's model: `mlflow.pyfunc.load_model(uri).predict(images)` gives logits.

    It is called as its endpoint `serving_default` is: raw images (batch, height, width, channels) float32
    to logits. A run that has its model already keeps it.
    """
    import tensorflow as tf
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature
    from mlflow.tensorflow import save_model
    from mlflow.types import Schema, TensorSpec

    run = client.get_run(run_id)
    if run.outputs and run.outputs.model_outputs:
        return
    module = _callable_module(saved_model)
    takes, gives = module.__call__.input_signature[0], module.__call__.get_concrete_function().outputs[0]
    signature = ModelSignature(
        *(
            Schema(
                [TensorSpec(spec.dtype.as_numpy_dtype().dtype, [-1 if n is None else n for n in spec.shape])]
            )
            for spec in (takes, gives)
        )
    )
    logged = client.create_logged_model(run.info.experiment_id, name="model", source_run_id=run_id)
    with tempfile.TemporaryDirectory() as folder:
        save_model(
            module,
            path=f"{folder}/model",
            mlflow_model=Model(
                artifact_path=logged.artifact_location,
                run_id=run_id,
                model_uuid=logged.model_id,
                model_id=logged.model_id,
            ),
            signature=signature,
            pip_requirements=_requirements(tf.__version__),
        )
        client.log_model_artifacts(logged.model_id, f"{folder}/model")
    client.finalize_logged_model(logged.model_id, "READY")
    # Last, since it is what says that the model is there.
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])


def _callable_module(saved_model: Path) -> Any:
    """The SavedModel's endpoint as a module that is called with the images: MLflow's flavour wants that."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(saved_model))
    endpoint = loaded.signatures["serving_default"]
    (argument, spec), *_ = endpoint.structured_input_signature[1].items()

    class ImagesToLogits(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loaded, self.endpoint = loaded, endpoint

        @tf.function(input_signature=[tf.TensorSpec(spec.shape, spec.dtype, name="images")])
        def __call__(self, images: tf.Tensor) -> tf.Tensor:
            (logits,) = self.endpoint(**{argument: images}).values()
            return logits

    return ImagesToLogits()


def _requirements(tensorflow: str) -> list[str]:
    """Written out: MLflow would find them by importing everything in a second process, for 7 seconds."""
    try:
        version("tensorflow-cpu")
    except PackageNotFoundError:
        return [f"tensorflow=={tensorflow}"]
    return [f"tensorflow-cpu=={tensorflow}"]

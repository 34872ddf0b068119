"""Networks: forecasters of frames, and classifiers of sequences of frames."""

from stormcell.models.checkpoints import from_checkpoint as from_checkpoint
from stormcell.models.classifiers import FrameAverageClassifier as FrameAverageClassifier
from stormcell.models.classifiers import SequenceClassifier as SequenceClassifier
from stormcell.models.encoder_forecaster import EncoderForecaster as EncoderForecaster
from stormcell.models.fc_lstm import FCLSTMForecaster as FCLSTMForecaster
from stormcell.models.multiscale import MultiscaleForecaster as MultiscaleForecaster
from stormcell.models.next_frame import NextFrameForecaster as NextFrameForecaster
from stormcell.models.sampling_schedules import FreeRunning as FreeRunning
from stormcell.models.sampling_schedules import ReverseScheduledSampling as ReverseScheduledSampling
from stormcell.models.sampling_schedules import ScheduledSampling as ScheduledSampling
from stormcell.models.sampling_schedules import TeacherForcing as TeacherForcing
from stormcell.models.shipped_models import shipped as shipped

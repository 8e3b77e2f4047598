"""Files: fields in, datasets out; units are checked here."""

from .atomic import replacing as replacing
from .atomic import writable_folder as writable_folder
from .closures import closure_from_json as closure_from_json
from .closures import closure_to_json as closure_to_json
from .closures import load_closure as load_closure
from .closures import save_closure as save_closure
from .columns import column_dataset as column_dataset
from .columns import columns_dataset as columns_dataset
from .columns import without_steady_state as without_steady_state
from .fields import load_fields as load_fields
from .forcing import forcing_from_dataset as forcing_from_dataset
from .forcing import forcing_to_dataset as forcing_to_dataset
from .forcing import forcings_from_dataset as forcings_from_dataset
from .forcing import load_forcing as load_forcing
from .forcing import load_forcings as load_forcings
from .labels import save_dataset as save_dataset
from .labels import to_dataset as to_dataset
from .places import Places as Places
from .respiration import Collection as Collection
from .respiration import load_respiration as load_respiration
from .store import MemberStore as MemberStore

"""The types are those of the readable twins."""

from hushar.rpc.engine_state import EngineState as EngineState
from hushar.rpc.fast_ways import fail_all as fail_all
from hushar.rpc.fast_ways import read_at_once as read_at_once
from hushar.rpc.fast_ways import reply_all as reply_all
from hushar.rpc.fast_ways import reply_at_once as reply_at_once
from hushar.rpc.fast_ways import take_calls as take_calls
from hushar.rpc.fast_ways import take_complete as take_complete
from hushar.rpc.messages import Gathered as Gathered
from hushar.rpc.streams import CallState as CallState

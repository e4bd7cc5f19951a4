import purerpc
import hushar.proto.service_pb2 as hushar_dot_service__pb2
import hushar.proto.structs_pb2 as hushar_dot_structs__pb2


class HusharServicer(purerpc.Servicer):
    async def InferenceService(self, input_message):
        raise NotImplementedError()

    @property
    def service(self) -> purerpc.Service:
        service_obj = purerpc.Service(
            "hushar.Hushar"
        )
        service_obj.add_method(
            "InferenceService",
            self.InferenceService,
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                hushar_dot_structs__pb2.InferenceRequest,
                hushar_dot_structs__pb2.InferenceResponse,
            )
        )
        return service_obj


class HusharStub:
    def __init__(self, channel):
        self._client = purerpc.Client(
            "hushar.Hushar",
            channel
        )
        self.InferenceService = self._client.get_method_stub(
            "InferenceService",
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                hushar_dot_structs__pb2.InferenceRequest,
                hushar_dot_structs__pb2.InferenceResponse,
            )
        )

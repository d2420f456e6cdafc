"""Networks that transformers lacks, registered with `AutoConfig` and `AutoModel` under their model types.

Import this package before building networks from configurations. All matrix products are `nn.Linear` and all tables
`nn.Embedding`, so that quantisation and engines work without knowing the architectures.
"""

from transformers import AutoConfig, AutoModel

from clinlm.models.architectures.dilated_cnn import DilatedCnnConfig, DilatedCnnModel
from clinlm.models.architectures.text_cnn import TextCnnConfig, TextCnnModel
from clinlm.models.architectures.token_vectors import TokenVectorsConfig, TokenVectorsModel

AutoConfig.register(DilatedCnnConfig.model_type, DilatedCnnConfig)
AutoConfig.register(TextCnnConfig.model_type, TextCnnConfig)
AutoConfig.register(TokenVectorsConfig.model_type, TokenVectorsConfig)
AutoModel.register(DilatedCnnConfig, DilatedCnnModel)
AutoModel.register(TextCnnConfig, TextCnnModel)
AutoModel.register(TokenVectorsConfig, TokenVectorsModel)

# The twins have the types of what they stand for.
from hushar.rpc.header_blocks import HeaderDecoder as HeaderDecoder
from hushar.rpc.huffman import HuffmanDecoder as HuffmanDecoder
from hushar.rpc.request_head import RequestHead as RequestHead
from hushar.rpc.variations import Variations as Variations

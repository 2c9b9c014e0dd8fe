from typing import TypedDict

class BuildInfo(TypedDict):
    version: str
    instruction_set: str
    instruction_sets: list[str]
    cuda_architectures: list[str]
    compiler: str
    torch_built_with: str

def build_info() -> BuildInfo: ...
def weight_width() -> int: ...
def set_instruction_set(name: str) -> None: ...
def release_kept_memory() -> int: ...

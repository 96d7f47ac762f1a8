"""A run on a Ray cluster: photos in any store that fsspec knows, shards of them through the engine on many machines.

stores.py   a folder or a bucket: list, read, publish whole
shards.py   the records as Parquet, a file a shard, which is its manifest too; one records file made of them
worker.py   what runs on a node
driver.py   what is left to do, given out and counted
"""

from .driver import Cluster as Cluster
from .driver import run as run
from .shards import gather as gather
from .stores import is_url as is_url

import flax.linen as nn
class Net(nn.Module):
    pass

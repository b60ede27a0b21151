"""The learning rate over the epochs."""


def step_decay(epoch, initial, milestones, factor):
    """The learning rate of an epoch: `initial`, multiplied by `factor` at every milestone passed.

    The paper's recipe is 1e-3, times 0.1 at epochs 170 and 200 of 210.

    Args:
        epoch: number of epochs done, from 0.
        initial: learning rate of the first epoch.
        milestones: numbers of epochs done, in any order.
        factor: what to multiply by.
    """
    return initial * factor ** sum(epoch >= milestone for milestone in milestones)

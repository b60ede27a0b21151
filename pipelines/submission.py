"""A job that is sent away: what it asks of the hosts there, and whether the command sees its end."""

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, StandardOptions

#: For runners that look at resource hints. A worker computes on one core and holds one shard: 0.3 GB with
#: 1,024 instances, 0.9 GB with --crop_encoding=exact. Hints of the whole job, not of the writing step: a step
#: with hints of its own gets an environment of its own, and every host twice as many workers.
_HINTS = ("--resource_hints=min_ram=2GB", "--resource_hints=cpu_count=1")


def with_hints(beam_args):
    """Arguments for Beam's `PipelineOptions` with the job's resource hints; the user's own ones win.

    Dataflow's delayed jobs (--flexrs_goal) get none, because they do not take any
    (https://cloud.google.com/dataflow/docs/guides/right-fitting).
    """
    if any(argument.startswith("--flexrs_goal") for argument in beam_args):
        return list(beam_args)
    return [*_HINTS, *beam_args]


def only_submits(beam_args):
    """Whether the command hands the job over without seeing its end: as a template, or by the user's wish."""
    options = PipelineOptions(list(beam_args))
    template = options.view_as(GoogleCloudOptions).template_location
    return bool(template or options.view_as(StandardOptions).no_wait_until_finish)

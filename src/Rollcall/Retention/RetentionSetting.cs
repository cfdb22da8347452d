namespace Rollcall.Retention;

/// <summary>How long a district keeps what it need not keep for ever. Without a row the defaults are meant.</summary>
public sealed class RetentionSetting
{
    public const int DefaultLogDays = 400;
    public const int DefaultAuditDays = 1096;
    public const int DefaultSignInDays = 90;

    public int DistrictId { get; set; }

    /// <summary>Days that logs of operations are kept. What a log says of a patron who is still here stays as their history.</summary>
    public int LogDays { get; set; } = DefaultLogDays;

    /// <summary>Days that the audit is kept, sign-ins aside.</summary>
    public int AuditDays { get; set; } = DefaultAuditDays;

    /// <summary>Days that the audit keeps sign-ins.</summary>
    public int SignInDays { get; set; } = DefaultSignInDays;

    /// <summary>The local date of the last look; null before the first.</summary>
    public DateOnly? LookedOn { get; set; }
}

/// <summary>What a retention run removed, or would.</summary>
/// <param name="Operations">Operations whose log went; those of whom nothing is history went whole.</param>
/// <param name="LogLines">Lines of logs.</param>
/// <param name="AuditLines">Lines of the audit, sign-ins aside.</param>
/// <param name="SignIns">Lines of the audit about sign-ins.</param>
/// <param name="Notices">Notices.</param>
/// <param name="Reviews">Entries in Review that a sync had settled.</param>
/// <param name="Tokens">Access tokens that had ended.</param>
public sealed record Removed(
    long Operations = 0,
    long LogLines = 0,
    long AuditLines = 0,
    long SignIns = 0,
    long Notices = 0,
    long Reviews = 0,
    long Tokens = 0
)
{
    public bool Any => Operations + LogLines + AuditLines + SignIns + Notices + Reviews + Tokens > 0;
}

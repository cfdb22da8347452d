namespace Rollcall.Audit;

/// <summary>Who changed what in preferences, approvals and exports. Rows are added and never changed, but by the
/// erasure of somebody whom they name; what is older than it is kept goes.</summary>
public sealed class AuditEntry
{
    public int DistrictId { get; set; }
    public long Id { get; set; }
    public DateTimeOffset At { get; set; }
    public string Actor { get; set; } = "";
    public string Action { get; set; } = "";

    /// <summary>What happened in words, without secrets and personal values.</summary>
    public string Details { get; set; } = "";
}

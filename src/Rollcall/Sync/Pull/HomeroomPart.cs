namespace Rollcall.Sync.Pull;

/// <summary>A piece of what the last whole read knew of homerooms, and of each changes sync since: from it and a delta the next changes
/// sync tells who sits where, without reading all enrollments again. Which pieces hold is said by
/// <see cref="Integrations.IntegrationState.Homerooms"/>; ids of people are keys of the run, not texts.</summary>
public sealed class HomeroomPart
{
    public int DistrictId { get; set; }

    /// <summary>The full sync that it goes back to.</summary>
    public long OperationId { get; set; }

    /// <summary>Later pieces count before earlier ones.</summary>
    public int Part { get; set; }

    public byte[] Data { get; set; } = [];
}

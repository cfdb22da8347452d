using System.Text.Encodings.Web;
using Rollcall.Operations;

namespace Rollcall.Server.Pages.Parts;

/// <summary>The progress of an operation as markup: pages and the live stream send the same.</summary>
internal static class Progress
{
    public static string Html(Operation o) =>
        Html(new LiveOperation(o.DistrictId, o.Id, o.Status, o.Stage, o.StageText, o.Done, o.Total, o.StartedAt, o.CancelRequested));

    public static string Html(LiveOperation operation)
    {
        var what = operation switch
        {
            { CancelRequested: true } => "Stopping",
            { Status: OperationStatus.Waiting } => "Waiting for its turn",
            { StageText: { } text } => text,
            _ => operation.Stage switch
            {
                OperationStage.Pulling => "Reading the roster",
                OperationStage.Planning => "Comparing",
                OperationStage.Applying => "Writing changes",
                _ => "Starting",
            },
        };
        var known = operation is { Total: > 0, Status: OperationStatus.Running };
        var done = Math.Min(operation.Done, operation.Total);
        var count =
            known ? $"{Words.Count(done)} of {Words.Count(operation.Total)}"
            : operation is { Done: > 0, Status: OperationStatus.Running } ? Words.Count(operation.Done)
            : "";
        var label = HtmlEncoder.Default.Encode(what);
        var bar =
            operation.Status == OperationStatus.Waiting ? ""
            : known ? $"<progress max=\"{operation.Total}\" value=\"{done}\" aria-label=\"{label}\"></progress>"
            : $"<progress aria-label=\"{label}\"></progress>";
        return $"<span class=\"progress-text\"><span>{label}</span><span class=\"num\">{count}</span></span>{bar}";
    }
}
